package sslnet

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// streamSize is what each direction carries at least.
const streamSize = 4 << 20 / tlstest.Scale

// streamer is one end of streams both ways. Its streams go on until stop says so, so that there is always
// something under way.
type streamer struct {
	*Conn
	read  func(p []byte) (int, error)
	write func(p []byte) (int, error)
	sent  atomic.Int64
	got   atomic.Int64
}

func newStreamer(c *Conn) *streamer { return &streamer{Conn: c, read: c.Read, write: c.Write} }

// send writes a Stream until there was enough of it and stop is closed, and then ends the direction.
func (s *streamer) send(size int, stop <-chan struct{}) error {
	var out tlstest.Stream
	for enough := false; !enough; {
		for left := out.Next(size); len(left) > 0; {
			n, err := s.write(left)
			if left = left[n:]; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
			s.sent.Add(int64(n))
		}
		select {
		case <-stop:
			enough = out.N >= streamSize
		default:
		}
	}
	return s.CloseWrite()
}

// receive checks a Stream until the end of the stream.
func (s *streamer) receive(size int) error {
	var in tlstest.Stream
	p := make([]byte, size)
	for {
		n, err := s.read(p)
		s.got.Add(int64(n))
		in.Check(p[:n])
		switch {
		case in.Bad != nil:
			return in.Bad
		case err == io.EOF && in.N < streamSize:
			return io.ErrShortBuffer
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
}

// streamBoth makes both ends stream both ways while the functions given run; they are to end by themselves.
func streamBoth(t *testing.T, client, server *streamer, during ...func() error) {
	t.Helper()
	stop := make(chan struct{})
	ends := []<-chan error{
		tlstest.Later(func() error { return client.send(20_000, stop) }), tlstest.Later(func() error { return client.receive(10_000) }),
		tlstest.Later(func() error { return server.send(50_000, stop) }), tlstest.Later(func() error { return server.receive(5_000) }),
	}
	for _, f := range during {
		ends = append(ends, tlstest.Later(f))
	}
	for _, end := range ends[4:] {
		if err := tlstest.Receive(t, end, "what goes on meanwhile"); err != nil {
			t.Errorf("meanwhile: %v", err)
		}
	}
	close(stop)
	for i, end := range ends[:4] {
		if err := tlstest.Receive(t, end, "the streams"); err != nil {
			t.Errorf("%s: %v", [...]string{"client sends", "client receives", "server sends", "server receives"}[i], err)
		}
	}
	if c, s := client.sent.Load(), server.sent.Load(); c != server.got.Load() || s != client.got.Load() {
		t.Errorf("client sent %d and got %d, server sent %d and got %d", c, client.got.Load(), s, server.got.Load())
	}
}

// rekeys is how many handshakes there are in the midst of streams.
const rekeys = 40 / tlstest.Scale

// TestStreamsAndRekeys: KeyUpdates with and without a request, renegotiations, from either end and from both, in
// the midst of streams both ways (P16, P34).
func TestStreamsAndRekeys(t *testing.T) {
	update := func(c *Conn) error { return c.KeyUpdate(false) }
	request := func(c *Conn) error { return c.KeyUpdate(true) }
	for name, tc := range map[string]struct {
		v              change
		client, server func(*Conn) error
	}{
		"client updates":      {v13, update, nil},
		"client asks":         {v13, request, nil},
		"server updates":      {v13, nil, update},
		"server asks":         {v13, nil, request},
		"both ask":            {v13, request, request},
		"client renegotiates": {v12, (*Conn).Renegotiate, nil},
		"server renegotiates": {v12, nil, (*Conn).Renegotiate},
		"both renegotiate":    {v12, (*Conn).Renegotiate, (*Conn).Renegotiate},
	} {
		for network, over := range narrow {
			t.Run(name+" "+network, func(t *testing.T) {
				client, server := connect(t, over, tc.v)
				repeat := func(f func(*Conn) error, c *Conn) func() error {
					return func() error {
						for i := 0; f != nil && i < rekeys; i++ {
							if err := f(c); err != nil {
								return err
							}
						}
						if name == "server renegotiates" || name == "both renegotiate" {
							// What a server asked for has begun when its Renegotiate returns, and nothing can
							// follow close_notify. A client's has ended, and what was asked for before.
							return client.Renegotiate()
						}
						return nil
					}
				}
				streamBoth(t, newStreamer(client), newStreamer(server), repeat(tc.client, client), repeat(tc.server, server))
			})
		}
	}
}

// hurried gives the operations of a streamer deadlines that fire all the time. Each time one has fired, it waits
// until the stream has moved, so that the streams end.
type hurried struct {
	fired, moved chan struct{}
	set          func(time.Time) error
	count        int
}

// wrap makes an operation report what happened to it.
func (h *hurried) wrap(f func(p []byte) (int, error)) func(p []byte) (int, error) {
	return func(p []byte) (int, error) {
		n, err := f(p)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			signal(h.fired)
			runtime.Gosched()
		}
		if n > 0 {
			signal(h.moved)
		}
		return n, err
	}
}

// run makes n deadlines fire.
func (h *hurried) run(n int) error {
	for h.count < n {
		for i, ch := range []chan struct{}{h.fired, h.moved} {
			var deadline time.Time
			if i == 0 {
				// In the past, just now, and soon, by turns.
				deadline = time.Now().Add(time.Duration(h.count%3-1) * time.Millisecond)
			}
			if err := h.set(deadline); err != nil {
				return err
			}
			select {
			case <-ch: // of an earlier turn
			default:
			}
			<-ch
		}
		h.count++
	}
	return nil
}

// TestStreamsAndDeadlines: deadlines of all four directions fire again and again, on operations that are retried.
// A Write that ran into one goes on from the number that it answered, and nothing is lost or comes twice.
func TestStreamsAndDeadlines(t *testing.T) {
	const times = 100 / tlstest.Scale
	everywhere(t, narrow, func(t *testing.T, client, server *Conn) {
		var all []*hurried
		var during []func() error
		ends := []*streamer{newStreamer(client), newStreamer(server)}
		for _, s := range ends {
			for _, d := range []struct {
				op  *func(p []byte) (int, error)
				set func(time.Time) error
			}{{&s.read, s.SetReadDeadline}, {&s.write, s.SetWriteDeadline}} {
				h := &hurried{fired: make(chan struct{}, 1), moved: make(chan struct{}, 1), set: d.set}
				*d.op = h.wrap(*d.op)
				all = append(all, h)
				during = append(during, func() error { return h.run(times) })
			}
		}
		streamBoth(t, ends[0], ends[1], during...)
		for i, h := range all {
			if h.count != times {
				t.Errorf("direction %d: %d deadlines fired, want %d", i, h.count, times)
			}
		}
	})
}

// TestStreamsAndQuestions: State, ConnectionState, Session and ExportKeyingMaterial are asked all the time, from
// other goroutines.
func TestStreamsAndQuestions(t *testing.T) {
	everywhere(t, narrow, func(t *testing.T, client, server *Conn) {
		var during []func() error
		for _, c := range []*Conn{client, server} {
			during = append(during, func() error {
				for range 500 / tlstest.Scale {
					if s, cs := c.State(), c.ConnectionState(); s.Version == 0 || cs.Version != uint16(s.Version) {
						return errors.New("no state")
					}
					if _, err := c.ExportKeyingMaterial("EXPERIMENTAL test", nil, 32); err != nil {
						return err
					}
					if s := c.Session(); c == server && s != nil {
						return errors.New("a server with a session to resume")
					}
				}
				return nil
			})
		}
		streamBoth(t, newStreamer(client), newStreamer(server), during...)
		if client.Session() == nil {
			t.Error("the client has no session")
		}
	})
}

// TestManyAtOnce: several goroutines write at once, and several read. The bytes of one Write come one behind the
// other, and each byte comes to one Read.
func TestManyAtOnce(t *testing.T) {
	const many, messages, size = 4, 8, 40_000 / tlstest.Scale
	everywhere(t, narrow, func(t *testing.T, client, server *Conn) {
		var writers, readers [many]<-chan error
		for i := range writers {
			writers[i] = tlstest.Later(func() error {
				p := bytes.Repeat([]byte{byte(i)}, size)
				for range messages {
					if _, err := client.Write(p); err != nil {
						return err
					}
				}
				return nil
			})
		}
		// A single goroutine sees the order, for one half of them.
		p := make([]byte, size)
		for m := range many * messages / 2 {
			tlstest.Value(io.ReadFull(server, p))(t)
			if k := bytes.Count(p, p[:1]); k != size {
				t.Fatalf("message %d: %d bytes of %d are those of one Write", m, k, size)
			}
		}
		var total atomic.Int64
		for i := range readers {
			readers[i] = tlstest.Later(func() error {
				n, err := io.Copy(io.Discard, struct{ io.Reader }{server})
				total.Add(n)
				return err
			})
		}
		for _, end := range writers {
			done(t, end, "a writer")
		}
		tlstest.Must(t, client.CloseWrite())
		for _, end := range readers {
			done(t, end, "a reader")
		}
		tlstest.Equal(t, "bytes that came to the readers", total.Load(), many*messages*size/2)
	})
}
