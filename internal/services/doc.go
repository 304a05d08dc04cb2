// Package services has what sslecho can do with its connections: echo, discard, chargen and reverse. It is
// a package of its own because the soak, in reactor/internal/soak, loads the same services
// in its own process. What they do is tested through the daemon, in cmd/sslecho, and by the soak.
package services
