package fromtls

import (
	"crypto/tls"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/connstate"
)

// ConnectionState returns s as crypto/tls would. Certificates that crypto/x509
// cannot parse are left out. ExportKeyingMaterial needs unexported state of
// crypto/tls: it returns an error (about renegotiation, since crypto/tls has no
// other). Call the method of cssl.Conn or sslnet.Conn instead. ECHAccepted is
// false.
func ConnectionState(s cssl.State) tls.ConnectionState { return connstate.Of(s) }
