package link

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// quality is what a link does to packets in each direction. The zero value lets all pass at once.
type quality struct {
	rate    int           // bytes a second; 0 is no limit
	delay   time.Duration // of each packet
	loss    float64       // the share of packets that are lost
	reorder int           // each so manieth packet comes late, behind those that follow it
}

// wire carries packets between two sites.
type wire struct {
	quality
	ends [2]*site // the server's and the client's
	cut  atomic.Bool
	// lost counts the packets that did not arrive, late those out of order.
	lost, late atomic.Int64

	mu    sync.Mutex
	flows map[uint16]*flow // by the client's port
}

// flow is one TCP connection as the link sees it.
type flow struct {
	reset   bool            // both sides are told that it is reset, and nothing passes any more
	noFIN   bool            // packets with FIN are lost
	noData  bool            // packets with payload are lost
	data    [2]int64        // bytes of payload that each side has sent
	last    [2][]byte       // the last packet of each side with an ACK
	onData  func(side int)  // called at each packet with payload, with mu held
	refused [2]atomic.Int64 // RSTs sent to each side
}

// newWire makes two sites and a link between them.
func newWire(t *testing.T, q quality) *wire {
	t.Helper()
	w := &wire{quality: q, ends: [2]*site{newSite(t, serverAddr), newSite(t, clientAddr)}, flows: map[uint16]*flow{}}
	var running sync.WaitGroup
	for side := range w.ends {
		running.Go(func() { w.carry(t, side) })
	}
	t.Cleanup(func() {
		for _, e := range w.ends {
			e.tun.SetDeadline(time.Now())
		}
		running.Wait()
	})
	return w
}

// held is a packet on its way.
type held struct {
	due    time.Time
	packet []byte
}

// carry takes what side sends to the other side.
func (w *wire) carry(t *testing.T, side int) {
	// A direction's packets are numbered, so the same ones are lost and late whenever the same ones are sent.
	rng := rand.New(rand.NewPCG(77, uint64(side)))
	on := make(chan held, 1000) // a longer queue than this loses packets, as routers do
	late := make(chan held, 1000)
	var done sync.WaitGroup
	for _, ch := range []chan held{on, late} {
		done.Go(func() {
			for h := range ch {
				time.Sleep(time.Until(h.due))
				w.deliver(1-side, h.packet)
			}
		})
	}
	defer done.Wait()
	defer close(on)
	defer close(late)
	var free time.Time // when the line is free
	buf := make([]byte, 1<<16)
	for n := 1; ; n++ {
		k, err := w.ends[side].tun.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("tun: %v", err)
			}
			return
		}
		p := append([]byte(nil), buf[:k]...)
		lost := rng.Float64() < w.loss
		if !w.passes(side, p) || lost || w.cut.Load() {
			w.lost.Add(1)
			continue
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if w.rate > 0 {
			free = free.Add(time.Duration(len(p)) * time.Second / time.Duration(w.rate))
		}
		h, ch := held{free.Add(w.delay), p}, on
		if w.reorder > 0 && n%w.reorder == 0 {
			h.due, ch = h.due.Add(w.delay/2), late
			w.late.Add(1)
		}
		select {
		case ch <- h:
		default:
			w.lost.Add(1)
		}
	}
}

// deliver gives a packet to a side, unless the link has been cut meanwhile.
func (w *wire) deliver(side int, p []byte) {
	if w.cut.Load() {
		w.lost.Add(1)
		return
	}
	_, _ = w.ends[side].tun.Write(p) // fails only when all is over
}

// The fields of TCP over IPv4 that are looked at.
const (
	fin, rst, ack = 0x01, 0x04, 0x10
	ipHeader      = 20
	protocolTCP   = 6
)

// passes keeps account of a packet of TCP, and says whether its flow lets it pass.
func (w *wire) passes(side int, p []byte) bool {
	if len(p) < ipHeader+20 || p[0] != 0x45 || p[9] != protocolTCP {
		return true
	}
	tcp := p[ipHeader:]
	port := binary.BigEndian.Uint16(tcp[2*(1-side):]) // the client's
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.flow(port)
	flags := tcp[13]
	if flags&ack != 0 && flags&rst == 0 {
		f.last[side] = p
	}
	if n := len(tcp) - int(tcp[12]>>4)*4; n > 0 {
		f.data[side] += int64(n)
		if f.onData != nil {
			f.onData(side)
		}
		if f.noData && !f.reset {
			return false
		}
	}
	if f.reset {
		w.refuse(f, side)
		return false
	}
	return !(f.noFIN && flags&fin != 0)
}

// flow is the connection from a port of the client. w.mu is held.
func (w *wire) flow(port uint16) *flow {
	f := w.flows[port]
	if f == nil {
		f = &flow{}
		w.flows[port] = f
	}
	return f
}

// watch changes what happens to a flow.
func (w *wire) watch(port uint16, f func(*flow)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.flow(port))
}

// resetNow resets a flow: both sides get a RST, and another for whatever they still say. w.mu is held.
func (w *wire) resetNow(f *flow) {
	f.reset = true
	for side := range f.last {
		w.refuse(f, side)
	}
}

// refuse answers the last packet of a side with a RST at the place where that side waits for more: TCP
// ignores one that is anywhere else (RFC 5961). w.mu is held.
func (w *wire) refuse(f *flow, side int) {
	from := f.last[side]
	if from == nil {
		return
	}
	p := make([]byte, ipHeader+20)
	p[0], p[8], p[9] = 0x45, 64, protocolTCP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:16], from[16:20])
	copy(p[16:20], from[12:16])
	tcp := p[ipHeader:]
	copy(tcp[0:2], from[ipHeader+2:])
	copy(tcp[2:4], from[ipHeader:])
	copy(tcp[4:8], from[ipHeader+8:]) // what the side has acknowledged
	tcp[12], tcp[13] = 5<<4, rst
	binary.BigEndian.PutUint16(p[10:], checksum(0, p[:ipHeader]))
	pseudo := uint32(protocolTCP + len(tcp))
	for i := 12; i < ipHeader; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(tcp[16:], checksum(pseudo, tcp))
	f.refused[side].Add(1)
	_, _ = w.ends[side].tun.Write(p) // fails only when all is over
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(sum uint32, b []byte) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
