// Package fleet holds tests only: three sslecho on hosts of their own behind HAProxy, with the very haproxy.cfg of docker/fleet.
//
//	clients ── HAProxy ──┬── sslecho a      each in a network namespace,
//	   │                 ├── sslecho b      all on one bridge
//	   │                 └── sslecho c
//	   └── and directly, without the balancer
//
// The namespaces have no names: they go when the last process in them does. The tests need root, ip (iproute2) and haproxy. They
// look at other processes, so with a sanitizer in the test binary they are skipped.
package fleet
