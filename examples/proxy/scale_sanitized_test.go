//go:build race || asan

package main

const scale = 10
