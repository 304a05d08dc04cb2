//go:build race

package sslnet

const scale = 8

const sanitized = true
