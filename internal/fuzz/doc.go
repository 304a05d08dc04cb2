// Package fuzz has the fuzz tests for which cssl alone is not enough: ciphertext that is changed between two
// sessions over OpenSSL, and settings, which go to both packages. It stands above both, which may not know of each other's tests.
package fuzz
