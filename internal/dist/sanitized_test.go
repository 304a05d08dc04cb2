//go:build race || asan

package main

const sanitized = true
