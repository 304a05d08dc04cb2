//go:build asan

package main

const scale = 10
