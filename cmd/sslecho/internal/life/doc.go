// Package life is what a daemon owes to its surroundings: sockets that it inherits and hands on, the service manager,
// and the user that it runs as.
//
//	systemd ──sockets──► Sockets ──► reactor.Server
//	                        │  ▲
//	   old process ─────────┘  └──── new process (SIGUSR2)
//
//	Notifier: READY, RELOADING, STOPPING, WATCHDOG ──► systemd, if there is one
package life
