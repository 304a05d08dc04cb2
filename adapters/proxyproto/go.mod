module github.com/spacemonad/go-openssl/adapters/proxyproto

go 1.26.0

require (
	github.com/pires/go-proxyproto v0.15.0
	github.com/spacemonad/go-openssl v0.1.0
)

require golang.org/x/sys v0.49.0 // indirect
