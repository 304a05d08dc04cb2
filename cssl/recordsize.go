package cssl

/*
#include "context.h"
*/
import "C"

// MaxFragment is the length of records that was agreed on (RFC 6066, section
// 4), or 0 if none was.
func (c *Conn) MaxFragment() int {
	if !c.established() {
		return 0
	}
	return int(C.cssl_ssl_max_fragment(C.cssl_conn_ssl(c.c)))
}
