//go:build go1.27

package sslhttp

const nativeHTTP2 = true
