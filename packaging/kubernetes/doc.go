// Package kubernetes holds the manifest of sslecho, and tests that hold it against Kubernetes' own schemas. It is a module of
// its own, so that the main one needs nothing of Kubernetes.
package kubernetes
