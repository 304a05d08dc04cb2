// Package recordmode lets all tests of a package run with another kind of
// records than cssl's default.
package recordmode

// Default is the cssl.Records of a server's cssl.Config that leaves Records
// zero, where its other settings allow that. Package testmain sets it.
var Default uint8
