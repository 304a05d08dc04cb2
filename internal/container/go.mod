module github.com/spacemonad/go-openssl/internal/container

go 1.26.0

require (
	github.com/coreos/go-systemd/v22 v22.7.0
	github.com/spacemonad/go-openssl v0.1.0
	go.yaml.in/yaml/v3 v3.0.5
)
