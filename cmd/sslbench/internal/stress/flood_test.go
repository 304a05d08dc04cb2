package stress

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// flood is something that a peer can send as often as it likes.
type flood struct {
	name    string
	figure  string // of the document, shared by some
	version uint16
	message func(f *flooder, i int) // the i-th
	// allowed is how many are taken; the next one ends the connection, with the error that ends tells. -1: no end.
	allowed int
	ends    string
	// perData is how many messages come with one byte of data among them; 0 is none at all.
	perData int
	// unread: the server answers each, which is more than Go's client puts up with, so the answers are not read.
	unread bool
}

var (
	floodedKeyUpdates = func(f *flooder, _ int) { f.rekey(0) }
	emptyRecord       = func(f *flooder, _ int) { f.record(typeData) }
	warning           = func(f *flooder, _ int) { f.record(typeAlert, 1, 90) } // user_canceled
)

// every is a flood with a byte of data after each n messages, which makes OpenSSL count anew.
func every(n int, message func(*flooder, int)) func(*flooder, int) {
	return func(f *flooder, i int) {
		if i%(n+1) == n {
			f.data()
		} else {
			message(f, i)
		}
	}
}

// The limits: 4096 is cssl.Config.MaxMessages and 16 MaxRenegotiations, counted over a connection's life; 32 empty records and
// 4 warnings in a row are OpenSSL's own.
var floods = []flood{
	{"KeyUpdates", "stress-keyupdates", tls.VersionTLS13, floodedKeyUpdates, 4096, "limit", 0, false},
	{"KeyUpdates between data", "stress-keyupdates", tls.VersionTLS13, every(1, floodedKeyUpdates), 2 * 4096, "limit", 0, false},
	{"KeyUpdates that ask for one back", "stress-keyupdates", tls.VersionTLS13, func(f *flooder, _ int) { f.rekey(1) }, 4096, "limit", 0, true},
	{"refused renegotiations", "stress-renegotiations-refused", tls.VersionTLS12, func(f *flooder, _ int) { f.record(typeHandshake, f.hello...) }, 16, "limit", 0, false},
	{"1-byte records of TLS 1.3", "stress-onebyte", tls.VersionTLS13, func(f *flooder, _ int) { f.data() }, -1, "", 1, false},
	{"1-byte records of TLS 1.2", "stress-onebyte", tls.VersionTLS12, func(f *flooder, _ int) { f.data() }, -1, "", 1, false},
	{"empty records of TLS 1.3", "stress-empty", tls.VersionTLS13, emptyRecord, 32, "record too small", 0, false},
	{"empty records of TLS 1.2", "stress-empty", tls.VersionTLS12, emptyRecord, 32, "record too small", 0, false},
	{"31 empty records to a byte", "stress-empty", tls.VersionTLS13, every(31, emptyRecord), -1, "", 32, false},
	{"warnings of TLS 1.3", "stress-alerts", tls.VersionTLS13, warning, 4, "too many warn alerts", 0, false},
	{"warnings of TLS 1.2", "stress-alerts", tls.VersionTLS12, warning, 4, "too many warn alerts", 0, false},
	{"4 warnings to a byte", "stress-alerts", tls.VersionTLS12, every(4, warning), -1, "", 5, false},
	{"tickets for the server", "stress-alerts", tls.VersionTLS13, func(f *flooder, _ int) { f.record(typeHandshake, 4, 0, 0, 0) }, 0, "unexpected message", 0, false},
}

// pour sends n messages, over as many connections as that takes, and answers how many those were.
func (fl flood) pour(addr string, n int) (conns int, err error) {
	per := n
	if fl.allowed >= 0 {
		per = fl.allowed + 1
	}
	for sent := 0; sent < n; sent += per {
		f, err := dialFlooder(addr, fl.version)
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", conns, err)
		}
		conns++
		if fl.allowed >= 0 {
			for i := range per {
				fl.message(f, i)
			}
			_ = f.flush() // it may be cut off before the last
			err = f.cut()
		} else {
			err = fl.endless(f, n)
		}
		f.close()
		if err != nil {
			return conns, err
		}
	}
	return conns, nil
}

// endless sends n messages and a byte on one connection, while it reads what is echoed.
func (fl flood) endless(f *flooder, n int) error {
	const batch = 64
	data := 1
	if fl.perData > 0 {
		data += n / fl.perData
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < n && err == nil; i++ {
			fl.message(f, i)
			if i%batch == batch-1 {
				err = f.flush()
			}
		}
		if err == nil {
			f.data() // its echo shows that all before it was taken
			err = f.flush()
		}
		sent <- err
	}()
	err := f.echoes(data)
	if err != nil {
		f.close()
	}
	if e := <-sent; err == nil {
		err = e
	}
	return err
}

// TestFloods: how many of each message the server takes, to the very one; what one costs it; and that honest clients notice nothing while
// they come, and nothing is left of it afterwards.
func TestFloods(t *testing.T) {
	alone(t)
	texts := make([]string, len(floods))
	t.Cleanup(func() { // after all of them
		figures := map[string][]string{}
		for i, fl := range floods {
			figures[fl.figure] = append(figures[fl.figure], texts[i])
		}
		for name, parts := range figures {
			record(t, name, strings.Join(parts, "; "))
		}
	})
	for i, fl := range floods {
		t.Run(fl.name, func(t *testing.T) { alone(t); texts[i] = testFlood(t, fl) })
	}
}

func testFlood(t *testing.T, fl flood) string {
	s := server(t, settings{Loops: 2})
	if fl.allowed >= 0 {
		fl.edge(t, s)
	}
	before := s.resident()
	n := fl.size()
	cpu, began := s.cpu(), time.Now()
	conns, err := fl.pour(s.addr, n)
	if err != nil {
		t.Fatal(err)
	}
	s.allGone()
	cost, took := s.cpu()-cpu, time.Since(began)

	h := beside(t, s.addr, scaled(200, 10), scaled(1000.0, 100))
	more, err := fl.pour(s.addr, n)
	if err != nil {
		t.Error(err)
	}
	h.end(t)
	s.allGone()
	after := s.resident()
	if after > before+growth(before) {
		t.Errorf("resident before %s, after %s", mb(before), mb(after))
	}
	if fl.allowed >= 0 {
		// One of edge's two connections was cut off as well.
		if got := s.report().Ended[fl.ends]; got != conns+more+1 {
			t.Errorf("%d connections ended with %q, want %d: %v", got, fl.ends, conns+more+1, s.report().Ended)
		}
	}
	s.stop()
	limit := "no limit"
	if fl.allowed >= 0 {
		limit = fmt.Sprintf("%d taken, the next one ends the connection", fl.allowed)
	}
	text := fmt.Sprintf("%s: %s; %s of CPU time each", fl.name, limit, show(cost/time.Duration(n)))
	if conns > 1 {
		text += fmt.Sprintf(" with a new connection for every %d", fl.allowed+1)
	} else {
		text += fmt.Sprintf(" at %.0f a second", float64(n)/took.Seconds())
	}
	return text + fmt.Sprintf(", resident %s before, %s after", mb(before), mb(after))
}

// size is how many messages a flood has.
func (fl flood) size() int {
	switch {
	case fl.allowed < 0:
		return scaled(500_000, 3000)
	case fl.allowed < 100:
		return scaled(500, 4) * (fl.allowed + 1)
	}
	return scaled(100, 1) * (fl.allowed + 1)
}

// edge shows the limit to the very message: a connection on which as many come as are allowed still echoes.
func (fl flood) edge(t *testing.T, s *process) {
	t.Helper()
	f := tlstest.Value(dialFlooder(s.addr, fl.version))(t)
	defer f.close()
	for i := range fl.allowed {
		fl.message(f, i)
	}
	f.data()
	tlstest.Must(t, f.flush())
	if !fl.unread {
		if err := f.echoes(f.sent); err != nil {
			t.Fatalf("after %d: %v", fl.allowed, err)
		}
	}
	f2 := tlstest.Value(dialFlooder(s.addr, fl.version))(t)
	defer f2.close()
	for i := range fl.allowed + 1 {
		fl.message(f2, i)
	}
	_ = f2.flush() // it may be cut off before the last
	tlstest.Must(t, f2.cut())
	waitFor(t, "the server's count", func() bool { return s.report().Ended[fl.ends] == 1 })
	if fl.unread { // the first one's may be read later: it is another loop's
		waitFor(t, "what was sent to be read", func() bool { return s.report().Stats.Sessions.BytesRead == uint64(f.sent+f2.sent) })
	}
}
