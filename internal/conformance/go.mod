module github.com/spacemonad/go-openssl/internal/conformance

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/spacemonad/go-openssl v0.1.0
	golang.org/x/net v0.62.0
)

require golang.org/x/sys v0.49.0 // indirect
