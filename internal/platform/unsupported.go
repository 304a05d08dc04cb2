//go:build !linux || !cgo

package platform

var _ = needs_Linux_cgo_and_OpenSSL_3
