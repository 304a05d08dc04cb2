package cssl

/*
#include "context.h"
#include <stdlib.h>
*/
import "C"

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spacemonad/go-openssl/tlsio"
)

// psks sets the pre-shared keys of the SSL_CTX.
func (b *builder) psks() error {
	c := b.cfg
	if len(c.PSKs) == 0 {
		return nil
	}
	suites := map[string][]*C.SSL_CIPHER{} // by the hash
	for _, cipher := range b.suites() {
		name := cipherName(cipher)
		hash := name[strings.LastIndexByte(name, '_')+1:]
		suites[hash] = append(suites[hash], cipher)
	}
	hashOf := func(k PSK) string { return cmp.Or(k.Hash, "SHA256") }
	for i, k := range c.PSKs {
		if suites[hashOf(k)] == nil {
			return refused(fmt.Sprintf("PSKs[%d].Hash", i), k.Hash, "no cipher suite with this hash is enabled; see CipherSuites")
		}
	}
	sorted := slices.SortedFunc(slices.Values(c.PSKs), func(x, y PSK) int {
		return cmp.Or(cmp.Compare(len(x.Identity), len(y.Identity)), bytes.Compare(x.Identity, y.Identity))
	})
	for _, k := range sorted {
		if C.cssl_ctx_psk(b.ptr, (*C.uchar)(&k.Identity[0]), C.size_t(len(k.Identity)), (*C.uchar)(&k.Key[0]), C.size_t(len(k.Key)),
			suites[hashOf(k)][0], &b.sessionID[0], &b.reasons) == 0 {
			return b.fail("PSKs", "")
		}
	}
	first := hashOf(c.PSKs[0])
	if c.CipherSuites != "" || slices.ContainsFunc(c.PSKs, func(k PSK) bool { return hashOf(k) != first }) {
		return nil
	}
	// OpenSSL selects the cipher suite before it looks at the PSK, and ignores
	// the PSK if its hash is not that of the suite. So suites with the hash
	// come first; if there is nothing but the PSK, only these are enabled.
	order := suites[first]
	if alone := b.server && len(c.Certificates) == 0 && !c.named() || !b.server && !c.SystemCAs && c.CAFile == "" && len(c.CAPEM) == 0; !alone {
		order = slices.Concat(order, suites[map[string]string{"SHA256": "SHA384", "SHA384": "SHA256"}[first]])
	}
	if !b.command("Ciphersuites", joined(order)) {
		return b.fail("PSKs", "")
	}
	return nil
}

// pskRefused reports whether e, an error of the handshake, looks like the
// failure to agree on a pre-shared key.
func (c *Conn) pskRefused(e *tlsio.Error) bool {
	if !c.server {
		// OpenSSL's server sends the first alert if it has no certificate, the
		// second or the third if the key differs. RFC 8446 also has the last.
		return e.AlertSide == tlsio.AlertReceived && slices.Contains([]tlsio.Alert{tlsio.AlertHandshakeFailure, tlsio.AlertIllegalParameter, tlsio.AlertDecryptError, tlsio.AlertUnknownPSKIdentity}, e.Alert)
	}
	return slices.ContainsFunc(e.Reasons, func(r tlsio.Reason) bool {
		return r.Text == "no suitable signature algorithm" || r.Text == "no shared cipher" || r.Text == "binder does not verify"
	})
}
