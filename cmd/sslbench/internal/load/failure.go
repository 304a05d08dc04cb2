package load

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// failedError is an error whose Failure is known already.
type failedError struct {
	what Failure
	error
}

func (e *failedError) Unwrap() error { return e.error }

func failed(what Failure, err error) error { return &failedError{what, err} }

// notTLS are OpenSSL's words for a server that answers the ClientHello with something else.
var notTLS = []string{
	"wrong version number", "http request", "https proxy request", "packet length too long", "data length too long",
	"record length mismatch", "record too small", "unexpected record", "unexpected message", "bad record type",
	"bad change cipher spec", "length mismatch", "length too short", "unknown protocol", "unsupported record type",
	"invalid alert", "unknown alert type", "excessive message size",
}

// ofHandshake classes what ended a connection before its handshake was done.
func ofHandshake(err error) *failedError {
	var known *failedError
	var e *tlsio.Error
	var errno syscall.Errno
	what := Rejected
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, os.ErrDeadlineExceeded):
		what = TimedOut
	case errors.As(err, &errno):
		what = ofErrno(errno)
		if what == Refused && errors.As(err, &e) {
			err = fmt.Errorf("connect: %w", errno) // which failed in the background; the handshake only found it
		}
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what = Closed
		err = fmt.Errorf("the server ended the connection before the handshake was done: %w", cmp.Or(err, io.EOF))
	case !errors.As(err, &e):
		what = Local
	case e.Verify != "":
		what = Certificate
	case e.AlertSide == tlsio.AlertReceived:
		what = Rejected
	default:
		for _, r := range e.Reasons {
			if slices.Contains(notTLS, r.Text) {
				what = NotTLS
			}
		}
	}
	return &failedError{what, err}
}

// ofOpen classes what ended a connection after its handshake, with work under way.
// answered says that the server has sent something by then.
func ofOpen(err error, answered bool) *failedError {
	var known *failedError
	var e *tlsio.Error
	what := Closed
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, os.ErrDeadlineExceeded):
		what = TimedOut
	case errors.Is(err, session.ErrLinger):
		what = WrongBytes
	case err == nil, errors.Is(err, io.EOF):
		err = errors.New("the server ended the connection by close_notify")
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("the server ended the connection without close_notify: %w", err)
	case errors.As(err, &e) && e.AlertSide == tlsio.AlertReceived && !answered:
		// In TLS 1.3 the client is done before the server has judged its certificate.
		what = Rejected
	case errors.As(err, &e) && e.Errno == 0 && e.Err == nil && e.AlertSide != tlsio.AlertReceived:
		what = WrongBytes // what came is no record of this connection
	}
	return &failedError{what, err}
}

func ofErrno(errno syscall.Errno) Failure {
	switch errno {
	case syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.EACCES, syscall.EPERM, syscall.EAFNOSUPPORT:
		return Refused
	case syscall.ETIMEDOUT:
		return TimedOut
	case syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC:
		return Local
	}
	return Closed
}

// tally counts failures, from all goroutines.
type tally struct {
	total atomic.Uint64

	mu       sync.Mutex
	counts   map[Failure]uint64
	examples map[Failure]string
}

func (t *tally) add(what Failure, n uint64, err error) {
	t.total.Add(n)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts, t.examples = map[Failure]uint64{}, map[Failure]string{}
	}
	t.counts[what] += n
	if t.examples[what] == "" {
		t.examples[what] = err.Error()
	}
}

// take answers the counts and begins anew.
func (t *tally) take() (map[Failure]uint64, map[Failure]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts, examples := t.counts, t.examples
	t.counts, t.examples = nil, nil
	return counts, examples
}

// worst is the failure that came most often, as an error; nil if there was none.
func (t *tally) worst() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := ByCount(t.counts)
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", all[0], t.examples[all[0]])
}

// ByCount are the names of what failed, the most frequent first.
func ByCount(counts map[Failure]uint64) []Failure {
	return slices.SortedFunc(maps.Keys(counts), func(a, b Failure) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}

// Err names what failed, the most frequent first, or is nil.
func (r Result) Err() error {
	var parts []string
	for _, what := range ByCount(r.Failures) {
		parts = append(parts, fmt.Sprintf("%d × %s (%s)", r.Failures[what], what, r.Examples[what]))
	}
	if parts == nil {
		return nil
	}
	return errors.New(strings.Join(parts, "; "))
}

// health says whether anything gets through. Its writers are the loops.
type health struct {
	failing atomic.Int64 // time of the first failure since the last success, or 0
	through atomic.Bool  // something got through since the call began
	strict  bool         // the call ends when every first attempt has failed
}

// patience is how long a Run or an Open goes on with failures alone.
const patience = 3 * time.Second

func (h *health) begin(strict bool) {
	h.strict = strict
	h.through.Store(false)
	h.failing.Store(0)
}

func (h *health) success() {
	if h.failing.Load() != 0 {
		h.failing.Store(0)
	}
	if !h.through.Load() {
		h.through.Store(true)
	}
}

func (h *health) failure(now time.Duration) { h.failing.CompareAndSwap(0, int64(max(now, 1))) }

// hopeless reports whether a call that has only failures should end. untried is whether some
// connections have not been tried yet.
func (h *health) hopeless(now time.Duration, untried bool) bool {
	since := h.failing.Load()
	return since != 0 && (h.strict && !untried && !h.through.Load() || now-time.Duration(since) >= patience)
}
