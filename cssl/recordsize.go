package cssl

/*
#include "context.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math/bits"
)

// recordSizes sets how large records are.
func (b *builder) recordSizes() error {
	c := b.cfg
	fragment := 0
	switch c.MaxFragment {
	case 0:
	case 512, 1024, 2048, 4096:
		if b.server {
			return &ConfigError{Setting: "MaxFragment", Err: errors.New("only a client asks for it; see MaxSendFragment")}
		}
		fragment = bits.Len(uint(c.MaxFragment)) - 9 // 1 to 4, RFC 6066
	default:
		return &ConfigError{Setting: "MaxFragment", Value: fmt.Sprint(c.MaxFragment), Err: errors.New("must be 512, 1024, 2048 or 4096")}
	}
	if n := c.MaxSendFragment; n != 0 && (n < 512 || n > MaxPlaintext) {
		return &ConfigError{Setting: "MaxSendFragment", Value: fmt.Sprint(n), Err: fmt.Errorf("must be from 512 to %d", MaxPlaintext)}
	}
	if n := c.RecordSizeLimit; n != 0 && (n < 513 || n > MaxPlaintext+1) {
		return &ConfigError{Setting: "RecordSizeLimit", Value: fmt.Sprint(n), Err: fmt.Errorf("must be from 513 to %d", MaxPlaintext+1)}
	}
	if c.Tail < 0 && (c.RecordSizeLimit != 0 || c.MaxFragment != 0) {
		// OpenSSL 3.0 makes its buffer anew when the first message after the handshake comes, since records are smaller now; the half
		// of a record that is still in it is lost.
		return &ConfigError{Setting: "Tail", Value: fmt.Sprint(c.Tail), Err: errors.New("negative; with MaxFragment or RecordSizeLimit a Write that stays half done would be lost")}
	}
	if c.RecordSizeLimit != 0 && c.MaxFragment != 0 {
		return &ConfigError{Setting: "RecordSizeLimit", Err: errors.New("takes the place of MaxFragment (RFC 8449, section 5): set one")}
	}
	if C.cssl_ctx_record_sizes(b.ptr, C.int(fragment), C.uint(c.MaxSendFragment), C.uint(c.RecordSizeLimit), &b.reasons) == 0 {
		return b.fail("MaxFragment, MaxSendFragment, RecordSizeLimit", "")
	}
	return nil
}

// MaxFragment is the length of records that was agreed on (RFC 6066, section 4), or 0 if none was.
func (c *Conn) MaxFragment() int {
	if !c.established() {
		return 0
	}
	return int(C.cssl_ssl_max_fragment(C.cssl_conn_ssl(c.c)))
}
