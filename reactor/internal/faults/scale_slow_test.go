//go:build race || asan

package faults

const scale = 8
