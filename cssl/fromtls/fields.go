package fromtls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"

	"github.com/spacemonad/go-openssl/cssl"
)

// role is the side of a connection.
type role int

const (
	server role = 1 << iota
	client
)

// field says what becomes of a field of tls.Config.
type field struct {
	// honoured are the roles in which the field counts, or in which crypto/tls
	// itself ignores it.
	honoured role
	// instead says what to do in the other roles.
	instead string
}

const both = server | client

const (
	ownECH    = "its keys are in another form; set ECHKeys of the cssl.Config"
	connECH   = "it is for one connection; set ECHConfigList of the cssl.ConnConfig"
	noOpaque  = "the sessions of crypto/tls are not those of OpenSSL; "
	onlyLease = noOpaque + "share TicketKeys between the servers"
)

// fields are those of tls.Config.
var fields = map[string]field{
	"Rand":                                {0, "OpenSSL has its own random generator (RAND(7)); leave it nil"},
	"Time":                                {both, ""},
	"Certificates":                        {both, ""},
	"NameToCertificate":                   {both, ""},
	"GetCertificate":                      {both, ""},
	"GetClientCertificate":                {server, "set Certificates; for another certificate, build another Context"},
	"GetConfigForClient":                  {both, ""},
	"VerifyPeerCertificate":               {both, ""},
	"VerifyConnection":                    {both, ""},
	"RootCAs":                             {both, ""},
	"NextProtos":                          {both, ""},
	"ServerName":                          {both, ""},
	"ClientAuth":                          {both, ""},
	"ClientCAs":                           {both, ""},
	"InsecureSkipVerify":                  {both, ""},
	"CipherSuites":                        {both, ""},
	"PreferServerCipherSuites":            {both, ""}, // crypto/tls ignores it
	"SessionTicketsDisabled":              {both, ""},
	"SessionTicketKey":                    {both, ""},
	"ClientSessionCache":                  {server, noOpaque + "keep sslnet.Conn.Session and set cssl.ConnConfig.Session"},
	"UnwrapSession":                       {client, onlyLease},
	"WrapSession":                         {client, onlyLease},
	"MinVersion":                          {both, ""},
	"MaxVersion":                          {both, ""},
	"CurvePreferences":                    {both, ""},
	"DynamicRecordSizingDisabled":         {both, ""}, // a hint; cssl.Config.MaxSendFragment
	"Renegotiation":                       {both, ""},
	"KeyLogWriter":                        {both, ""},
	"EncryptedClientHelloConfigList":      {server, connECH},
	"EncryptedClientHelloRejectionVerify": {server, "the certificate of the public name is verified as any other; leave it nil"},
	"GetEncryptedClientHelloKeys":         {client, ownECH},
	"EncryptedClientHelloKeys":            {client, ownECH},
}

// certificateFields are those of tls.Certificate that are honoured.
var certificateFields = map[string]bool{"Certificate": true, "PrivateKey": true, "SupportedSignatureAlgorithms": true,
	"OCSPStaple": true, "SignedCertificateTimestamps": true, "Leaf": true}

// check returns an error for a field that is set and not honoured.
func check(c *tls.Config, r role) error {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if !v.Type().Field(i).IsExported() || v.Field(i).IsZero() {
			continue
		}
		f, known := fields[name]
		switch {
		case !known:
			return refused(name, "is newer than this package; leave it empty")
		case f.honoured&r == 0:
			return refused(name, "%s", f.instead)
		}
	}
	return nil
}

// refused returns the error for a field of tls.Config.
func refused(name, format string, args ...any) error {
	return &cssl.ConfigError{Setting: "tls.Config." + name, Err: fmt.Errorf(format, args...)}
}

// checkCertificate returns an error for a field that is set and not honoured.
func checkCertificate(c *tls.Certificate) error {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && !v.Field(i).IsZero() && !certificateFields[f.Name] {
			return errors.New(f.Name + " is newer than this package; leave it empty")
		}
	}
	if len(c.SignedCertificateTimestamps) > 0 {
		return errors.New("SignedCertificateTimestamps: OpenSSL does not send them; use a certificate that contains them (RFC 6962, section 3.3)")
	}
	return nil
}
