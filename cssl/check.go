package cssl

/*
#include "decide.h"
#include "beside.h"
*/
import "C"

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/tlsio"
)

// maxSessionLifetime is the maximum for a ticket (RFC 8446, section 4.6.1), and
// so for sessions.
const maxSessionLifetime = 7 * 24 * time.Hour

// defaultEarlySessions is the size of the session cache with early data if
// SessionCache is 0; it is OpenSSL's default.
const defaultEarlySessions = 20480

// sessionCache returns the size of the server's cache.
func (c *Config) sessionCache() int {
	if c.MaxEarlyData > 0 && !c.AllowReplay && c.SessionCache == 0 {
		return defaultEarlySessions
	}
	return c.SessionCache
}

func (c *Config) lifetime() time.Duration { return cmp.Or(c.SessionLifetime, DefaultSessionLifetime) }

// lowest returns the lowest version that is enabled.
func (c *Config) lowest() TLSVersion { return cmp.Or(c.MinVersion, TLS12) }

// refused returns the error for a setting that this package refuses. value may
// be nil.
func refused(setting string, value any, format string, args ...any) *ConfigError {
	e := &ConfigError{Setting: setting, Err: fmt.Errorf(format, args...)}
	if value != nil {
		e.Value = fmt.Sprint(value)
	}
	return e
}

// check refuses settings that are invalid, alone or together, before OpenSSL is
// called.
func (c *Config) check(server bool) error {
	const versions = "only TLS 1.0 to 1.3 are supported"
	before13 := c.MaxVersion != 0 && c.MaxVersion < TLS13
	verifies := c.Verify == VerifyOptional || c.Verify == VerifyRequire
	outside := func(n, least, most int) bool { return n < least || n > most }
	const most, mostText = 1 << 30, "must be from 0 to 1073741824"
	for _, r := range []struct {
		wrong   bool
		setting string
		value   any
		why     string
	}{
		{server && len(c.Certificates) == 0 && !c.named() && len(c.PSKs) == 0, "Certificates", nil, "a server needs Certificates, Names, SNI, ClientHello or PSKs"},
		{!server && len(c.SNI) > 0, "SNI", nil, "only a server selects by server name"},
		{!server && len(c.Names) > 0, "Names", nil, "only a server selects by server name"},
		{!server && c.ClientHello != nil, "ClientHello", nil, "only a server receives a ClientHello"},
		{!server && len(c.TicketKeys) > 0, "TicketKeys", nil, "only a server has ticket keys"},
		{server && c.AllowCommonName, "AllowCommonName", nil, "only a client checks its peer's name"},

		{c.lowest() < TLS10 || c.lowest() > TLS13, "MinVersion", c.lowest(), versions},
		{c.MaxVersion != 0 && (c.MaxVersion < TLS10 || c.MaxVersion > TLS13), "MaxVersion", c.MaxVersion, versions},
		{c.MaxVersion != 0 && c.MinVersion > c.MaxVersion, "MinVersion", c.MinVersion, "above MaxVersion " + c.MaxVersion.String()},
		{c.MaxVersion != 0 && c.lowest() > c.MaxVersion, "MaxVersion", c.MaxVersion,
			"below MinVersion, which is " + c.lowest().String() + " by default"},

		{c.Verify > VerifyOptionalApplication, "Verify", uint8(c.Verify), "unknown mode"},
		{c.Verify.byApplication() && c.VerifyPeer == nil, "Verify", "VerifyApplication", "needs VerifyPeer, which is not set"},
		{c.RawPublicKey && len(c.Certificates) == 0 && !c.named(), "RawPublicKey", nil, "there is no key: set Certificates"},
		{c.peerKeys() && server && (c.Verify == VerifyDefault || c.Verify == VerifyNone), "PeerKeys", nil,
			"no client is asked for a key: set Verify to VerifyRequire or VerifyOptional"},
		{c.PeerRawPublicKey && c.PeerKeysFile == "" && len(c.PeerKeysPEM) == 0 && !c.Verify.byApplication() && c.Verify != VerifyNone,
			"PeerRawPublicKey", nil, "every key would be refused: set PeerKeysFile, or Verify to VerifyApplication"},
		{c.VerifyConnection != nil && c.MaxEarlyData > 0, "VerifyConnection", nil, "decides after early data was read: set only one of it and MaxEarlyData"},
		{!server && len(c.CANames) > 0, "CANames", nil, "only a server requests a certificate"},
		{server && c.Staples, "Staples", nil, "only a client requests them; a server has Certificate.OCSP"},
		{c.VerifyPeer != nil && (c.Verify == VerifyNone || server && c.Verify == VerifyDefault), "VerifyPeer", nil,
			"would never be called: set Verify to VerifyRequire or VerifyOptional"},
		{c.VerifyPeer != nil && !server && C.cssl_can_retry_verify() == 0, "VerifyPeer", nil,
			"on a client, needs OpenSSL 3.0.2 or newer at build time"},
		{c.PostHandshakeAuth && server && !verifies, "PostHandshakeAuth", nil,
			"needs Verify to be VerifyOptional or VerifyRequire"},

		{outside(c.VerifyDepth, 0, most), "VerifyDepth", c.VerifyDepth, mostText},
		{outside(c.Tickets, 0, most), "Tickets", c.Tickets, mostText},
		{outside(c.SessionCache, 0, most), "SessionCache", c.SessionCache, mostText},
		{outside(c.MaxMessages, 0, most), "MaxMessages", c.MaxMessages, mostText},
		{outside(c.MaxRenegotiations, 0, most), "MaxRenegotiations", c.MaxRenegotiations, mostText},
		{c.lifetime() < time.Second || c.lifetime() > maxSessionLifetime, "SessionLifetime", c.lifetime(), "must be from 1s to 168h (7 days)"},

		{c.MaxEarlyData == 0 && c.AllowReplay, "AllowReplay", nil, "has no effect without MaxEarlyData: set both or neither"},
		{c.MaxEarlyData > 0 && !server, "MaxEarlyData", nil, "only a server accepts early data; a client calls WriteEarlyData"},
		{c.MaxEarlyData > math.MaxInt32, "MaxEarlyData", nil, "more than 2147483647 bytes"},
		{c.MaxEarlyData > 0 && before13, "MaxEarlyData", nil, "needs TLS 1.3, but MaxVersion is lower"},
		{c.MaxEarlyData > 0 && c.NoTickets, "MaxEarlyData", nil, "needs tickets, but NoTickets is set"},
		{c.MaxEarlyData > 0 && len(c.TicketKeys) > 0 && !c.AllowReplay, "MaxEarlyData", nil, "each host with the TicketKeys would " +
			"accept the same early data again: set AllowReplay if that does no harm, or set only one of the two"},

		{!slices.Contains([]int{0, 512, 1024, 2048, 4096}, c.MaxFragment), "MaxFragment", c.MaxFragment, "must be 512, 1024, 2048 or 4096"},
		{c.MaxFragment != 0 && server, "MaxFragment", nil, "only a client requests it; a server sets MaxSendFragment"},
		{c.MaxSendFragment != 0 && outside(c.MaxSendFragment, 512, tlsio.MaxPlaintext), "MaxSendFragment", c.MaxSendFragment, "must be from 512 to 16384"},
		{c.RecordSizeLimit != 0 && outside(c.RecordSizeLimit, 513, tlsio.MaxPlaintext+1), "RecordSizeLimit", c.RecordSizeLimit, "must be from 513 to 16385"},
		{c.RecordSizeLimit != 0 && c.MaxFragment != 0, "RecordSizeLimit", nil, "replaces MaxFragment (RFC 8449, section 5): set only one"},
		// OpenSSL 3.0 reallocates its buffer for smaller records at the first
		// message after the handshake, and loses an unfinished record in it.
		{c.Records > RecordsKernel, "Records", c.Records, "unknown"},
		{!server && c.Records != RecordsOpenSSL, "Records", c.Records, "only a server's connections can have direct records: a client needs the SSL object for session tickets"},
		{c.Tail < 0 && c.Records != RecordsOpenSSL, "Tail", c.Tail, "negative: direct records need a tail"},
		{c.Tail < 0 && (c.RecordSizeLimit != 0 || c.MaxFragment != 0), "Tail", c.Tail,
			"negative: with MaxFragment or RecordSizeLimit an unfinished Write would be lost"},

		{len(c.PSKs) > 0 && before13, "PSKs", nil, "need TLS 1.3, but MaxVersion is lower"},
		{len(c.PSKs) > 1 && !server, "PSKs", nil, "a client has at most one: OpenSSL offers no more"},
		{len(c.PSKs) > 0 && !server && c.Verify == VerifyNone, "PSKs", nil,
			"with VerifyNone, a client accepts a server that has neither the key nor a valid certificate"},

		{strings.Contains(c.Properties, "\x00"), "Properties", c.Properties, "contains a NUL byte"},
		{strings.Contains(c.CipherList, "\x00"), "CipherList", c.CipherList, "contains a NUL byte"},
		{strings.Contains(c.CipherSuites, "\x00"), "CipherSuites", c.CipherSuites, "contains a NUL byte"},
		{strings.Contains(c.Groups, "\x00"), "Groups", c.Groups, "contains a NUL byte"},
		{strings.Contains(c.SignatureAlgorithms, "\x00"), "SignatureAlgorithms", c.SignatureAlgorithms, "contains a NUL byte"},
		{len(c.ALPN) > 0 && len(strings.Join(c.ALPN, "x"))+1 > 65535, "ALPN", nil, "more than 65535 bytes in all (RFC 7301)"},
	} {
		if r.wrong {
			return refused(r.setting, r.value, "%s", r.why)
		}
	}
	if err := checkProtocols("ALPN", c.ALPN); err != nil {
		return err
	}
	for i, k := range c.TicketKeys {
		if len(k) != C.CSSL_TICKET_KEY_SHORT && len(k) != C.CSSL_TICKET_KEY_LONG || len(k) != len(c.TicketKeys[0]) {
			return refused(fmt.Sprintf("TicketKeys[%d]", i), nil, "has %d bytes; all must have %d, or all %d",
				len(k), C.CSSL_TICKET_KEY_SHORT, C.CSSL_TICKET_KEY_LONG)
		}
	}
	if err := c.checkExtensions(); err != nil {
		return err
	}
	if err := c.checkECH(server); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, k := range c.PSKs {
		setting := fmt.Sprintf("PSKs[%d]", i)
		switch {
		case outside(len(k.Identity), 1, C.CSSL_MAX_IDENTITY):
			return refused(setting+".Identity", nil, "has %d bytes, want 1 to 1024", len(k.Identity))
		case outside(len(k.Key), 16, 256):
			return refused(setting+".Key", nil, "has %d bytes, want 16 to 256", len(k.Key))
		case !slices.Contains([]string{"", "SHA256", "SHA384"}, k.Hash):
			return refused(setting+".Hash", k.Hash, "must be SHA256 or SHA384")
		case seen[string(k.Identity)]:
			return refused("PSKs", string(k.Identity), "duplicate identity")
		}
		seen[string(k.Identity)] = true
	}
	return nil
}
