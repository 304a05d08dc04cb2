package main

import (
	"fmt"
	"net"
)

func addressOf(l net.Listener) string {
	if a, ok := l.Addr().(*net.UnixAddr); ok {
		return "unix:" + a.Name
	}
	return l.Addr().String()
}

// clientLine is a command that talks to l.
func clientLine(l net.Listener) string {
	switch a := l.Addr().(type) {
	case *net.UnixAddr:
		return "openssl s_client -unix " + a.Name
	case *net.TCPAddr:
		host := a.IP.String()
		if a.IP.IsUnspecified() {
			host = "127.0.0.1"
		}
		return "openssl s_client -connect " + net.JoinHostPort(host, fmt.Sprint(a.Port))
	}
	return "openssl s_client"
}
