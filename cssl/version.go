package cssl

/*
#include <openssl/crypto.h>
#include <openssl/opensslv.h>
*/
import "C"

import "fmt"

// Release is a version of OpenSSL.
type Release struct {
	// Number is OPENSSL_VERSION_NUMBER: major, minor and patch start at bits
	// 28, 20 and 4.
	Number uint32
	// Text is OpenSSL's version string, such as "OpenSSL 3.0.19 27 Jan 2026".
	Text string
}

// String returns the version as "3.0.19".
func (r Release) String() string {
	return fmt.Sprintf("%d.%d.%d", r.Number>>28, r.Number>>20&0xff, r.Number>>4&0xffff)
}

// series returns major and minor version, which determine the features; patch
// releases only fix bugs.
func (r Release) series() uint32 { return r.Number >> 20 }

// Versions has the OpenSSL whose headers the program was built with (Build),
// and the library that it runs with (Run).
type Versions struct{ Build, Run Release }

// Version returns the versions of OpenSSL.
func Version() Versions {
	return Versions{
		Build: Release{C.OPENSSL_VERSION_NUMBER, C.OPENSSL_VERSION_TEXT},
		Run:   Release{uint32(C.OpenSSL_version_num()), C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION))},
	}
}

// String returns the version that runs, and the one it was built with if that
// differs.
func (v Versions) String() string {
	if v.Build == v.Run {
		return v.Run.Text
	}
	return v.Run.Text + " (built with " + v.Build.Text + ")"
}

// Mismatch returns an error if the library cannot be used with the headers, and
// nil otherwise. OpenSSL's ABI is stable within a major version and grows with
// minor versions. So the library must have the same major version as the
// headers, and not an older minor version; a different patch level does not
// matter. With a mismatch no [Context] can be built.
func (v Versions) Mismatch() error {
	switch b, r := v.Build.series(), v.Run.series(); {
	case r>>8 != b>>8:
		return fmt.Errorf("built with OpenSSL %v, but %v is linked: major versions have different ABIs; "+
			"build the program with the headers of OpenSSL %d", v.Build, v.Run, r>>8)
	case r < b:
		return fmt.Errorf("built with OpenSSL %v, but %v is linked, which is older; "+
			"install OpenSSL %d.%d or newer, or build the program on this system", v.Build, v.Run, b>>8, b&0xff)
	}
	return nil
}

// linked does not change while the process runs.
var linked = Version()
