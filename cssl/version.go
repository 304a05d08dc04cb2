package cssl

/*
#include <openssl/crypto.h>
#include <openssl/opensslv.h>
*/
import "C"

import "fmt"

// Release is a version of OpenSSL.
type Release struct {
	// Number is OPENSSL_VERSION_NUMBER: major, minor and patch in the bits from
	// 28, 20 and 4 on.
	Number uint32
	// Text is what OpenSSL says of itself, such as "OpenSSL 3.0.19 27 Jan 2026".
	Text string
}

// String is "3.0.19".
func (r Release) String() string {
	return fmt.Sprintf("%d.%d.%d", r.Number>>28, r.Number>>20&0xff, r.Number>>4&0xffff)
}

// series are major and minor, which say what a library can do; patches only
// repair.
func (r Release) series() uint32 { return r.Number >> 20 }

// Versions are the OpenSSL whose headers this program was built with, and the
// one whose library runs.
type Versions struct{ Build, Run Release }

// Version tells which OpenSSL is linked.
func Version() Versions {
	return Versions{
		Build: Release{C.OPENSSL_VERSION_NUMBER, C.OPENSSL_VERSION_TEXT},
		Run:   Release{uint32(C.OpenSSL_version_num()), C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION))},
	}
}

// String is what runs, and what it was built with where that is another.
func (v Versions) String() string {
	if v.Build == v.Run {
		return v.Run.Text
	}
	return v.Run.Text + " (built with " + v.Build.Text + ")"
}

// Mismatch is nil, or says how the two differ in a way that matters. OpenSSL
// keeps its binary interface within a major version, and adds to it with each
// minor one: a library of another major version, or of an older minor one than
// the headers, is not what this program was made for, and no [Context] is built
// on it. A newer minor version, or another patch, is no mismatch.
func (v Versions) Mismatch() error {
	switch b, r := v.Build.series(), v.Run.series(); {
	case r>>8 != b>>8:
		return fmt.Errorf("built with OpenSSL %v, but %v is linked: another major version has another binary interface; "+
			"build the program with the headers of OpenSSL %d", v.Build, v.Run, r>>8)
	case r < b:
		return fmt.Errorf("built with OpenSSL %v, but %v is linked, which lacks what came later; "+
			"install OpenSSL %d.%d or newer, or build the program on this system", v.Build, v.Run, b>>8, b&0xff)
	}
	return nil
}

// linked is read once: it cannot change.
var linked = Version()
