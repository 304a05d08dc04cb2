package cssl

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// stores are the ways in which a server keeps sessions.
var stores = []struct {
	name    string
	version TLSVersion
	change  func(s *Config)
}{
	{"ticket", TLS12, func(s *Config) {}},
	{"ticket", TLS13, func(s *Config) {}},
	{"cache", TLS12, func(s *Config) { s.NoTickets, s.SessionCache = true, 10 }},
	{"cache for early data", TLS13, func(s *Config) { s.MaxEarlyData = 100 }},
}

// TestSessionEndsWithCertificate: nobody resumes whose certificate, or one of a CA above it, has run out; here it has from the beginning, and the application
// accepts it all the same (P40).
func TestSessionEndsWithCertificate(t *testing.T) {
	past := x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	root := newAuthority(t, "root", nil, newKey(t))
	good := newAuthority(t, "intermediate", root, newKey(t))
	old := *good
	template := past
	template.Subject, template.IsCA, template.BasicConstraintsValid, template.KeyUsage = good.cert.Subject, true, true, x509.KeyUsageCertSign
	old.cert, old.pem = root.sign(&template, good.key)
	names := x509.Certificate{Subject: pkix.Name{CommonName: "client"}, DNSNames: []string{"localhost"}}
	ended := names
	ended.NotBefore, ended.NotAfter = past.NotBefore, past.NotAfter
	for what, cert := range map[string]Certificate{
		"valid": good.issue(names, good), "leaf": good.issue(ended, good), "CA": old.issue(names, &old),
	} {
		for _, store := range stores {
			for _, who := range []string{"client", "server"} {
				asked := 0
				accept := func(v *PeerVerification) { asked++; v.Accept() }
				c := Config{CAPEM: root.pem, Certificates: []Certificate{good.issue(names, good)}, MaxVersion: store.version}
				s := Config{CAPEM: root.pem, Certificates: []Certificate{good.issue(names, good)}, Verify: VerifyRequire}
				judged, judge := &c, &s
				if who == "server" {
					judged, judge = &s, &c
				}
				judged.Certificates = []Certificate{cert}
				judge.Verify, judge.VerifyPeer = VerifyApplication, accept
				store.change(&s)
				cx, sx := mustClient(t, c), mustServer(t, s)
				session := ticketOf(t, cx, sx)
				if asked != 1 {
					t.Fatalf("asked %d times", asked)
				}
				resumed, cerr, serr := resumes(t, cx, sx, session)
				if cerr != nil || serr != nil || resumed != (what == "valid") || resumed == (asked == 2) {
					t.Errorf("%v %s, %s of the %s: resumed %v, asked %d times, client: %v, server: %v",
						store.version, store.name, what, who, resumed, asked, cerr, serr)
				}
			}
		}
	}
}

// TestSessionOutlivesUnverified: a certificate that nobody verifies does not end a
// session when it runs out.
func TestSessionOutlivesUnverified(t *testing.T) {
	ca := newAuthority(t, "ca", nil, newKey(t))
	ended := ca.issue(x509.Certificate{DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	for _, store := range stores {
		s := Config{Certificates: []Certificate{ended}}
		store.change(&s)
		cx, sx := mustClient(t, Config{Verify: VerifyNone, MaxVersion: store.version}), mustServer(t, s)
		if resumed, cerr, serr := resumes(t, cx, sx, ticketOf(t, cx, sx)); !resumed {
			t.Errorf("%v %s: not resumed (client: %v, server: %v)", store.version, store.name, cerr, serr)
		}
	}
}

// clockShift is the variable of the environment by which the clock of a process
// with shiftedClock is ahead, in seconds.
const clockShift = "CSSL_CLOCK_SHIFT"

// shiftedClock is C's clock, which OpenSSL and cssl look at and Go does not.
const shiftedClock = `
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec + atol(getenv("` + clockShift + `"));
	tv->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	if (t != NULL)
		*t = now.tv_sec;
	return now.tv_sec;
}
`

// TestSessionLifetime: sessions that are resumed again and again, each time with
// the ticket that came last, end all the same, on whichever side the bound is
// (P40). It runs this test's program with a clock that it shifts.
func TestSessionLifetime(t *testing.T) {
	if os.Getenv(clockShift) == "" {
		if out, err := runPreloaded(t, sharedObject(t, "clock.so", shiftedClock), clockShift+"=0"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	const step = 25 * time.Minute
	for _, store := range stores {
		for _, who := range []string{"client", "server"} {
			t.Run(fmt.Sprintf("%v %s, %s", store.version, store.name, who), func(t *testing.T) {
				t.Setenv(clockShift, "0")
				c, s := clientUpTo(store.version), serverConfig("ecdsa")
				store.change(&s)
				if who == "client" {
					c.SessionLifetime = time.Hour
				} else {
					s.SessionLifetime = time.Hour
				}
				cx, sx := mustClient(t, c), mustServer(t, s)
				session := ticketOf(t, cx, sx)
				for age := step; age <= 3*step; age += step {
					t.Setenv(clockShift, strconv.Itoa(int(age/time.Second)))
					p := earlyPair(t, cx, sx, session)
					p.opened()
					if resumed := p.server.State().Resumed; resumed != (age < time.Hour) {
						t.Errorf("after %v: resumed %v", age, resumed)
					}
					session = p.client.Session()
					p.client.Close()
					p.server.Close()
				}
			})
		}
	}
}

// element finds an optional field in the ASN.1 form of an SSL_SESSION; what is written to it changes the session.
func element(t testing.TB, der []byte, tag int) []byte {
	t.Helper()
	var seq asn1.RawValue
	if _, err := asn1.Unmarshal(der, &seq); err != nil {
		t.Fatal(err)
	}
	for rest := seq.Bytes; len(rest) > 0; {
		var e, inner asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &e); err != nil {
			t.Fatal(err)
		}
		if e.Class == asn1.ClassContextSpecific && e.Tag == tag {
			if _, err := asn1.Unmarshal(e.Bytes, &inner); err != nil {
				t.Fatal(err)
			}
			return inner.Bytes
		}
	}
	t.Fatalf("the session has no element %d", tag)
	return nil
}

// The fields that a test changes or reads.
const (
	tagLifetimeHint = 9
	tagTicket       = 10
	tagLife         = 18 // when the session began, and until when its certificates are valid
)

// withTicket lets f change the session in a ticket that was encrypted with key.
func withTicket(t testing.TB, ticket, key []byte, f func(der []byte)) {
	t.Helper()
	block := tlstest.Value(aes.NewCipher(key[48:80]))(t)
	iv, sealed, tag := ticket[16:32], ticket[32:len(ticket)-32], ticket[len(ticket)-32:]
	mac := hmac.New(sha256.New, key[16:48])
	mac.Write(ticket[:len(ticket)-32])
	if !bytes.Equal(mac.Sum(nil), tag) {
		t.Fatal("the ticket is of another key")
	}
	der := bytes.Clone(sealed)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(der, der)
	f(der)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, der)
	mac.Reset()
	mac.Write(ticket[:len(ticket)-32])
	copy(tag, mac.Sum(nil))
}

// TestSessionAge: a session that is older than it may be, or whose certificates have run out, is not offered by a client, and not resumed by a server; a
// ticket that renews another one carries its age on (P40).
func TestSessionAge(t *testing.T) {
	key, newer := ticketKey(1, 80), ticketKey(2, 80)
	for _, tt := range []struct {
		lifetime, age, left time.Duration // left is what the certificates have; 0: as long as they have
		want                bool
	}{
		{0, 0, 0, true},
		{0, 23 * time.Hour, 0, true},
		{0, 25 * time.Hour, 0, false},
		{time.Hour, 50 * time.Minute, 0, true},
		{time.Hour, 70 * time.Minute, 0, false},
		{7 * 24 * time.Hour, 167 * time.Hour, 0, true},
		{7 * 24 * time.Hour, 169 * time.Hour, 0, false},
		{0, time.Hour, 10 * time.Minute, true},
		{0, time.Hour, -time.Minute, false},
	} {
		for _, version := range versions {
			for _, who := range []string{"client", "server"} {
				s, c := mutual(version)
				s.TicketKeys = [][]byte{key}
				c.SessionLifetime, s.SessionLifetime = tt.lifetime, tt.lifetime
				cx, sx := mustClient(t, c), mustServer(t, s)
				s.TicketKeys = [][]byte{newer, key} // so that a ticket is renewed
				sx2 := mustServer(t, s)
				// life lets f change what the client or the server knows of a session's life.
				life := func(s *Session, key []byte, f func(life []byte)) {
					if who == "client" {
						f(element(t, s.der, tagLife))
					} else {
						withTicket(t, element(t, s.der, tagTicket), key, func(der []byte) { f(element(t, der, tagLife)) })
					}
				}
				session := ticketOf(t, cx, sx)
				var was, is []byte
				life(session, key, func(p []byte) {
					binary.BigEndian.PutUint64(p, binary.BigEndian.Uint64(p)-uint64(tt.age/time.Second))
					if tt.left != 0 {
						binary.BigEndian.PutUint64(p[8:], uint64(time.Now().Add(tt.left).Unix()))
					}
					was = bytes.Clone(p)
				})
				p := earlyPair(t, cx, sx2, session)
				p.opened()
				resumed := p.server.State().Resumed
				if resumed != tt.want {
					t.Errorf("%v, %s: %+v: resumed %v", version, who, tt, resumed)
				}
				if !resumed {
					continue
				}
				next := p.client.Session()
				if life(next, newer, func(p []byte) { is = p }); !bytes.Equal(is, was) {
					t.Errorf("%s: %+v: the new ticket has the life %x, the old one %x", who, tt, is, was)
				}
				if who == "client" || version == TLS12 { // in which the hint is not repeated
					continue
				}
				most := cmp.Or(tt.lifetime, 24*time.Hour) - tt.age
				if tt.left != 0 {
					most = tt.left
				}
				hint := time.Duration(new(big.Int).SetBytes(element(t, next.der, tagLifetimeHint)).Int64()) * time.Second
				if hint <= 0 || hint > min(most, 2*time.Hour)+time.Second { // C's clock may be a tick behind Go's
					t.Errorf("%+v: the client is told %v", tt, hint)
				}
			}
		}
	}
}

// TestSessionLifetimeRefused: what is no life of a session is refused.
func TestSessionLifetimeRefused(t *testing.T) {
	for _, d := range []time.Duration{-time.Second, time.Millisecond, 7*24*time.Hour + 1} {
		s := serverConfig("ecdsa")
		s.SessionLifetime = d
		checkRefused(t, d.String(), true, s, "SessionLifetime")
	}
}
