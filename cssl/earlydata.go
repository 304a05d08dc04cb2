package cssl

/*
#include "context.h"
*/
import "C"

import (
	"errors"
	"math"
)

// defaultEarlySessions is the size of the session cache that early data needs, where SessionCache is 0; it is OpenSSL's own.
const defaultEarlySessions = 20480

// sessionCache is the size of the server's cache.
func (c *Config) sessionCache() int {
	if c.MaxEarlyData > 0 && !c.AllowReplay && c.SessionCache == 0 {
		return defaultEarlySessions
	}
	return c.SessionCache
}

// checkEarly says why the settings of early data cannot be.
func (b *builder) checkEarly() error {
	c := b.cfg
	refuse := func(setting, why string) error { return &ConfigError{Setting: setting, Err: errors.New(why)} }
	switch {
	case c.MaxEarlyData == 0 && c.AllowReplay:
		return refuse("AllowReplay", "set without MaxEarlyData, which it is for")
	case c.MaxEarlyData == 0:
		return nil
	case !b.server:
		return refuse("MaxEarlyData", "only a server accepts early data; a client calls WriteEarlyData")
	case c.MaxEarlyData > math.MaxInt32:
		return refuse("MaxEarlyData", "more than 2147483647 bytes")
	case c.before13():
		return refuse("MaxEarlyData", "needs TLS 1.3, and MaxVersion is below")
	case c.NoTickets:
		return refuse("MaxEarlyData", "comes with a ticket, and NoTickets is set")
	case len(c.TicketKeys) > 0 && !c.AllowReplay:
		return refuse("MaxEarlyData", "whoever has TicketKeys would accept the same early data once more: set AllowReplay if that does no harm, or leave one of the two out")
	}
	return nil
}

// earlyData sets what a server takes.
func (b *builder) earlyData() error {
	if err := b.checkEarly(); err != nil || !b.server {
		return err
	}
	if C.cssl_ctx_early_data(b.ptr, C.uint32_t(b.cfg.MaxEarlyData), cbool(b.cfg.AllowReplay), &b.reasons) == 0 {
		return b.fail("MaxEarlyData", "")
	}
	return nil
}
