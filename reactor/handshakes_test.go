package reactor

import (
	"crypto/tls"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestHandshakesWait: when many begin their handshake at once, an established connection is served first, and few of
// them in one turn.
func TestHandshakesWait(t *testing.T) {
	type step struct {
		turn, conn uint64
		op         tlsio.Op
	}
	var steps []step // the loop's own until the server is closed
	s := &Server{Handler: echo(), Loops: 1}
	s.Trace = func(c *Conn, op tlsio.Op, _ tlsio.Result, _ session.Event) {
		steps = append(steps, step{c.loop.stats.Turns, c.id, op})
	}
	addr := start(t, s)
	old := goDial(t, addr)
	roundTrip(t, old, "hello")

	const crowd = 7
	var raw []net.Conn
	for range crowd {
		raw = append(raw, rawDial(t, addr))
	}
	tlstest.Until(t, "the crowd to be accepted", func() bool { return s.Stats().Accepted == crowd+1 })
	l := s.loops[0]
	held, release := make(chan struct{}), make(chan struct{})
	l.Do(func() { close(held); <-release })
	<-held
	before := len(steps)
	shaken := make(chan error, crowd)
	for _, c := range raw {
		go func() { shaken <- tls.Client(c, goConfig(t)).Handshake() }()
	}
	tlstest.Value(old.Write([]byte("first")))(t)
	tlstest.Until(t, "all input", func() bool {
		for i := range l.slots {
			if c := l.slots[i].conn; c != nil {
				if n, err := unix.IoctlGetInt(c.fd, unix.TIOCINQ); err != nil || n == 0 {
					return false
				}
			}
		}
		return true
	})
	close(release)
	for range crowd {
		tlstest.Must(t, tlstest.Receive(t, shaken, "a handshake"))
	}
	tlstest.Must(t, s.Close())

	oldID := steps[0].conn
	if first := steps[before]; first.conn != oldID || first.op != tlsio.OpRead {
		t.Errorf("%v of connection %d came first", first.op, first.conn)
	}
	inTurn := map[uint64]map[uint64]bool{}
	for _, st := range steps[before:] {
		if st.op == tlsio.OpHandshake {
			if inTurn[st.turn] == nil {
				inTurn[st.turn] = map[uint64]bool{}
			}
			inTurn[st.turn][st.conn] = true
		}
	}
	for turn, conns := range inTurn {
		if len(conns) > handshakeBatch {
			t.Errorf("turn %d: %d handshakes", turn, len(conns))
		}
	}
}
