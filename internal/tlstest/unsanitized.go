//go:build !race && !asan

package tlstest

// Sanitized: a sanitizer is built in. It allocates memory, and keeps some.
const Sanitized = false

// Scale divides the size of large tests, which the sanitizers make slow.
const Scale = 1
