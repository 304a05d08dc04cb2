// Package tlstest is what the tests of all packages share: waiting for a
// condition, for a value or for goroutines to end, bytes to send, a
// buffer, and the memory of the process. It imports nothing of this project, so that each package's own
// tests can use it.
package tlstest

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Hang is how long a test waits for what must come. It is far more than that
// needs, also on a busy machine.
const Hang = 60 * time.Second

// Must fails the test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Value returns v, and fails the test if there is an error:
//
//	c := tlstest.Value(net.Dial("tcp", address))(t)
func Value[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		Must(t, err)
		return v
	}
}

// Equal fails the test, which goes on, unless got is want.
func Equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// IsError fails the test, which goes on, if err is not want (see errors.Is).
func IsError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// Nothing fails the test if something has come through ch.
func Nothing[T any](t testing.TB, ch <-chan T, what string) {
	t.Helper()
	select {
	case v := <-ch:
		t.Fatalf("%s: %v has come", what, v)
	default:
	}
}

// Until waits until ok returns true. It is asked every millisecond, and may be
// asked at any time.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Soon(ok) {
		t.Fatalf("not so after %v: %s\n%s", Hang, what, Stacks())
	}
}

// Soon is Until where there is no test, as at the end of TestMain. It returns
// false if ok did so all the time.
func Soon(ok func() bool) bool {
	for deadline := time.Now().Add(Hang); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Receive returns what comes through ch, or the zero value if it is closed.
func Receive[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Hang):
		t.Fatalf("no end of waiting for %s\n%s", what, Stacks())
		panic("not reached")
	}
}

// Later calls f on a goroutine, and returns where its result comes.
func Later[T any](f func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return ch
}

// NoneLeft waits, when the test ends, until the goroutines are as few as they
// are now.
func NoneLeft(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		Until(t, "the goroutines of the test have ended", func() bool { return runtime.NumGoroutine() <= before })
	})
}

// Stacks returns the stacks of all goroutines.
func Stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}

// Bytes returns n bytes in which a lost, doubled or moved byte shows. Different
// seeds give different bytes.
func Bytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	x := seed*2 + 1
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}

// RSS returns the resident memory of this process in bytes.
func RSS(t testing.TB) int64 {
	t.Helper()
	statm := bytes.Fields(Value(os.ReadFile("/proc/self/statm"))(t))
	return Value(strconv.ParseInt(string(statm[1]), 10, 64))(t) * int64(os.Getpagesize())
}

// Buffer is a buffer of text that goroutines may write and read at the same time.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
