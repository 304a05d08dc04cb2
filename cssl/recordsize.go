package cssl

/*
#include "context.h"
*/
import "C"

// MaxFragment returns the negotiated maximum record length in bytes (RFC 6066,
// section 4), or 0 if none was negotiated.
func (c *Conn) MaxFragment() int {
	if !c.established() {
		return 0
	}
	return int(C.cssl_max_fragment(c.c))
}
