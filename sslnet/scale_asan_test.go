//go:build asan

package sslnet

const scale = 8

const sanitized = true
