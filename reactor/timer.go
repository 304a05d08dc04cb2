package reactor

import (
	"math/bits"
	"time"

	"github.com/spacemonad/go-openssl/internal/saturate"
)

// Each slot of the wheel is one tick. A deadline beyond the wheel's range goes
// into the last slot and is inserted again from there.
const (
	tick       = 50 * time.Millisecond
	wheelSlots = 1024
)

// wheel is a timer wheel with the deadlines of a loop's connections, one for
// each. Each slot is a list linked through the connections, so that setting,
// moving and removing a deadline takes constant time. A deadline that moves
// later stays in its old slot and is moved when that slot comes up.
type wheel struct {
	slots    [wheelSlots]*Conn
	occupied [wheelSlots / 64]uint64
	count    int
	at       int64 // the last tick that was handled
}

func tickOf(t time.Duration) int64 { return int64(saturate.Add(t, tick-1) / tick) }

// set sets c's deadline to due (time since the loop's start), rounded up to a
// tick.
func (w *wheel) set(c *Conn, due time.Duration) {
	c.due = due
	if c.timed {
		if due >= c.slotDue {
			return
		}
		w.remove(c)
	}
	w.insert(c)
}

func (w *wheel) insert(c *Conn) {
	t := min(max(tickOf(c.due), w.at+1), w.at+wheelSlots-1)
	i := int(t % wheelSlots)
	c.timed, c.slot16, c.slotDue = true, uint16(i), time.Duration(t)*tick
	c.timerPrev, c.timerNext = nil, w.slots[i]
	if c.timerNext != nil {
		c.timerNext.timerPrev = c
	}
	w.slots[i] = c
	w.occupied[i/64] |= 1 << (i % 64)
	w.count++
}

// remove removes c's deadline.
func (w *wheel) remove(c *Conn) {
	if !c.timed {
		return
	}
	i := int(c.slot16)
	if c.timerPrev != nil {
		c.timerPrev.timerNext = c.timerNext
	} else {
		w.slots[i] = c.timerNext
		if c.timerNext == nil {
			w.occupied[i/64] &^= 1 << (i % 64)
		}
	}
	if c.timerNext != nil {
		c.timerNext.timerPrev = c.timerPrev
	}
	c.timerPrev, c.timerNext, c.timed = nil, nil, false
	w.count--
}

// advance calls expire for each connection whose deadline has passed at now.
// expire may set deadlines again.
func (w *wheel) advance(now time.Duration, expire func(*Conn)) {
	end := int64(now / tick)
	if w.count == 0 || end-w.at > wheelSlots {
		if w.count == 0 {
			w.at = end
			return
		}
		w.at = end - wheelSlots
	}
	for w.at < end {
		w.at++
		i := int(w.at % wheelSlots)
		if w.occupied[i/64]&(1<<(i%64)) == 0 {
			continue
		}
		for c := w.slots[i]; c != nil; c = w.slots[i] {
			w.remove(c)
			if c.due > now {
				w.insert(c)
			} else {
				expire(c)
			}
		}
	}
}

// next returns the time of the next slot that is not empty, or false if there
// is none.
func (w *wheel) next() (time.Duration, bool) {
	if w.count == 0 {
		return 0, false
	}
	from := int((w.at + 1) % wheelSlots)
	for k := 0; k <= len(w.occupied); k++ {
		word := (from/64 + k) % len(w.occupied)
		m := w.occupied[word]
		if k == 0 {
			m &= ^uint64(0) << (from % 64)
		}
		if k == len(w.occupied) {
			m &= 1<<(from%64) - 1
		}
		if m != 0 {
			i := word*64 + bits.TrailingZeros64(m)
			ahead := (i - from + wheelSlots) % wheelSlots
			return time.Duration(w.at+1+int64(ahead)) * tick, true
		}
	}
	return 0, false
}
