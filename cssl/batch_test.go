package cssl

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestWriteBuffers: what WriteBuffers says it wrote arrives once and in order, whatever the socket and the tail have
// room for, and though what stands behind the first buffer changes after a want.
func TestWriteBuffers(t *testing.T) {
	const seed = 18
	sizes := []int{0, 1, 100, 16383, tlsio.MaxPlaintext, 40_000, 100_000}
	for _, records := range []Records{RecordsOpenSSL, RecordsDirect} {
		for _, tail := range []int{-1, 1, 40_000, 0} {
			if tail < 0 && (records == RecordsDirect || testmain.Direct()) {
				continue // which need one
			}
			for _, version := range versions {
				r := rand.New(rand.NewPCG(seed, uint64(tail)))
				sc := serverConfig("ecdsa")
				sc.Records, sc.Tail, sc.MaxVersion = records, tail, version
				c, s := socketEnds(t, "unix", true, mustClient(t, clientConfig()), mustServer(t, sc))
				runSockets(t, c, s, func() bool { return c.established() && s.established() && !s.unsent })
				want, at, first, waits, most := pattern(1<<20, 3), 0, 0, 0, 0
				for at < len(want) {
					var bufs [][]byte
					rest := want[at:]
					for i := range 1 + r.IntN(5) {
						n := sizes[r.IntN(len(sizes))]
						if i == 0 && first > 0 {
							n = first
						}
						n = min(n, len(rest))
						bufs = append(bufs, rest[:n])
						rest = rest[n:]
					}
					got := s.c.WriteBuffers(bufs, r.IntN(2) == 0)
					n := 0
					for _, b := range bufs[:min(len(bufs), 4)] {
						n += len(b)
					}
					if got.Err != nil || got.N > n || (got.N > 0) != (got.Want == tlsio.WantNone && n > 0) {
						t.Fatalf("%v, tail %d, %v: %+v of %d bytes", records, tail, version, got, n)
					}
					at, most = at+got.N, max(most, got.N)
					if first = 0; got.Want == tlsio.WantNone {
						continue
					}
					waits++
					i := slices.IndexFunc(bufs, func(b []byte) bool { return len(b) > 0 })
					first = len(bufs[i])
					c.turn(readable)
				}
				for s.c.Flush().Want != tlsio.WantNone || len(c.in) < len(want) {
					c.turn(readable)
				}
				if !bytes.Equal(c.in, want) {
					t.Fatalf("%v, tail %d, %v: what arrived is not what was written", records, tail, version)
				}
				if waits == 0 || tail == 0 && most < 2*tlsio.MaxPlaintext {
					t.Errorf("%v, tail %d, %v: %d writes waited, none took more than %d bytes", records, tail, version, waits, most)
				}
			}
		}
	}
}

// TestKeyLimitInBatch: a batch that one key may not seal is written up to its last record.
func TestKeyLimitInBatch(t *testing.T) {
	afterRecords(t, 8)
	p := newRecordPeers(t, gcmSuites[2]).connect(t, directServer(t, gcmSuites[2], 0))
	for i := range 5 { // Finished was the first record
		if r := p.server.Write([]byte("x")); r.N != 1 {
			t.Fatalf("%d: %+v", i, r)
		}
	}
	bufs := [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d")}
	if r := p.server.WriteBuffers(bufs, false); r.N != 2 || r.Err != nil {
		t.Errorf("two more records: %+v", r)
	}
	if r := p.server.WriteBuffers(bufs[2:], false); !errors.Is(r.Err, tlsio.ErrLimit) || r.N != 0 {
		t.Errorf("the eighth record: %+v", r)
	}
	if got := p.taken(); len(got) != 8 || got[6] != `data "b"` || got[7] != "alert [1 0]" {
		t.Errorf("sent %q", got)
	}
}
