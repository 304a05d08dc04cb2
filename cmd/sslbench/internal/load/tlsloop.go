package load

import (
	"net/netip"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
)

// loop is what a worker runs on: an event loop, or what stands for one (Plain).
type loop interface {
	Run() error
	Stop()
	// Do runs f when no other call of the worker is under way; false after Stop.
	Do(f func()) bool
	// dial begins a connection, whose end or beginning the worker hears of later, and sets abandon or fd.
	dial(addr netip.AddrPort, s *slot) error
}

// link is a connection; *reactor.Conn is one.
type link interface {
	Write(p []byte) (int, error)
	Queued() int
	Close() error
	Abort(cause error)
	State() cssl.State
	Session() *cssl.Session
}

// tlsLoop is the loop for TLS.
type tlsLoop struct {
	reactor.BaseHandler
	*reactor.Loop
	w *worker
}

func newTLSLoop(w *worker) (*tlsLoop, error) {
	l, err := reactor.NewLoop(loopConfig(&w.load.cfg))
	return &tlsLoop{Loop: l, w: w}, err
}

func (t *tlsLoop) dial(addr netip.AddrPort, s *slot) error {
	fd, err := connect(addr, s.index)
	if err != nil {
		return err
	}
	s.fd = fd
	return t.Attach(fd, t.w.load.tls, t.w.load.connConfig(s.toResume()), t, s)
}

// OnOpen implements reactor.Handler.
func (t *tlsLoop) OnOpen(c *reactor.Conn) { t.w.wasOpened(c.Data.(*slot), c) }

// OnData implements reactor.Handler.
func (t *tlsLoop) OnData(c *reactor.Conn, p []byte) { t.w.job.data(c.Data.(*slot), p) }

// OnDrain implements reactor.Handler.
func (t *tlsLoop) OnDrain(c *reactor.Conn) { t.w.job.drained(c.Data.(*slot)) }

// OnClose implements reactor.Handler.
func (t *tlsLoop) OnClose(c *reactor.Conn, err error) { t.w.closed(c.Data.(*slot), c, err) }
