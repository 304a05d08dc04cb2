// Package loops holds a benchmark: what TLS costs in event loops of others,
// beside the same loops in plain text and beside reactor.
package loops
