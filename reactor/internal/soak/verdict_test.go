package soak

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// span is from when to when something was.
type span struct{ from, to time.Time }

func (a span) meets(b span) bool { return !a.to.Before(b.from) && !b.to.Before(a.from) }

// failure is a conversation that has failed.
type failure struct {
	span
	text string
}

// verdict is what is known since the last quiet point about conversations that have failed, and about faults that each
// may have ended one. A fault excuses a conversation only if that lived while the fault was armed.
type verdict struct {
	mu       sync.Mutex
	failures []failure
	faults   []span
}

// excuse takes a fault that came. There is one fault at a time, so they come in their order.
func (v *verdict) excuse(armed time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.faults = append(v.faults, span{armed, time.Now()})
}

// unexcused forgets everything, and answers the failures for which there is no fault. Each fault in turn takes the
// one that ended first of those that it may have ended: no other choice excuses more.
func (v *verdict) unexcused() []failure {
	v.mu.Lock()
	defer v.mu.Unlock()
	left, faults := v.failures, v.faults
	v.failures, v.faults = nil, nil
	slices.SortFunc(left, func(a, b failure) int { return a.to.Compare(b.to) })
	for _, f := range faults {
		if i := slices.IndexFunc(left, func(l failure) bool { return l.meets(f) }); i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	return left
}

// What nothing excuses, and an end that only a Shutdown explains.
var (
	errWrong = tlstest.ErrWrong
	errEarly = errors.New("ended without an error")
)

// never reports whether err is one that no fault and no Shutdown may lead to: wrong data, a stall, a panic.
func never(err error) bool {
	return errors.Is(err, errWrong) || errors.Is(err, os.ErrDeadlineExceeded) || timedOut(err) || errors.Is(err, reactor.ErrPanic)
}

// timedOut is for the timeouts of net and of contexts, which are no os.ErrDeadlineExceeded. The system's ETIMEDOUT is
// one of the saboteur's answers.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}

// ofShutdown are the ends that a server's Shutdown gives to a conversation, or to an attempt to begin one.
var ofShutdown = []error{errEarly, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNREFUSED}

// judged takes the end of a conversation with srv that was begun at a time, when srv's generation was gen.
func (s *soak) judged(what string, srv *server, gen int64, began time.Time, err error) {
	s.talks.Add(1)
	if err == nil {
		return
	}
	text := fmt.Sprintf("%s with %s: %v", what, srv.name, err)
	switch replaced := srv.generation.Load() != gen; {
	case never(err):
		s.t.Error(text)
	case replaced && slices.ContainsFunc(ofShutdown, func(e error) bool { return errors.Is(err, e) }):
	case errors.Is(err, errEarly):
		s.t.Error(text)
	default:
		s.verdict.mu.Lock()
		defer s.verdict.mu.Unlock()
		s.verdict.failures = append(s.verdict.failures, failure{span{began, time.Now()}, text})
	}
}

// account fails the test if a conversation failed without a reason since the last quiet point.
func (s *soak) account() {
	left := s.verdict.unexcused()
	if len(left) == 0 {
		return
	}
	var b strings.Builder
	for _, f := range left {
		fmt.Fprintf(&b, "\n%s", f.text)
	}
	s.t.Errorf("%d conversations failed that no fault explains:%s", len(left), b.String())
}
