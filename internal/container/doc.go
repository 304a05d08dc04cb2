// Package container holds the tests of what sslecho is run by: the images and the compose file in docker/, and the units in
// packaging/systemd.
//
// No image is pulled. The tests make one of the few files of this machine that the programs need (see base), and build the
// prebuilt targets of the Dockerfile on it, with programs that are compiled as the Dockerfile says. What they make is named
// after the process and removed at the end. Without an engine, or with a sanitizer in the test binary, those that need an engine
// are skipped.
package container
