package sslnet

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/figures"
)

// A model of who waits for what: the two halves of a Conn over a socket, Go's
// poller, which is edge-triggered, the process's epoll instance of crossPoller, and a
// kernel and a peer that do what they like. TestModel follows every order of
// their steps and shows that nobody is forgotten and that nothing spins.
//
// Each step of the model is one that nothing can interrupt in the code: a call
// under Conn.mu, or one operation of Go's poller (runtime/netpoll.go).

var exhaustive = flag.Bool("exhaustive", false, "TestModel: all at once (minutes)")

// pc is where a half's goroutine is.
type pc uint8

const (
	idle    pc = iota // no operation
	enters            // in run, before raw.Read has called pollReset
	tries             // before try has the lock
	decides           // try has returned false; pollWait has not looked yet
	parked            // asleep in pollWait
	event             // woken by an event
	unblock           // woken without one: a deadline, or the end of the descriptor
	late              // pollWait has returned ErrDeadlineExceeded; run has not got the lock
)

type modelHalf struct {
	pc           pc
	waits, woken bool
	want         direction
	deadline     bool // the user's has passed
	stale        bool // the other half has moved what this one waits for
}

type pairOf [2]bool // by direction

// model is a state of all of it.
type model struct {
	// The kernel.
	data, room, fin, reset bool
	open                   bool // the owner's descriptor
	edge                   pairOf
	// Go's poller.
	ready, past pairOf
	// crossPoller and socket.
	watching, armed, firing pairOf
	duplicate               bool // another descriptor of the socket
	// Conn.
	half            [2]modelHalf
	closing, unsent bool
	lied            bool // an operation has ended for a deadline that nobody had set
}

// scope is what happens besides what the peer does.
type scope struct {
	deadlines bool // the user's
	tail      bool // cssl keeps what the socket refuses
	closes    bool // Close, and NetConn().Close
	again     bool // another Read behind a Read, and so on
}

// design is the code's, in a scope, or one that is broken to see that the model
// sees it.
type design struct {
	scope
	duplicates bool // crossing takes a duplicate of the descriptor, as it once did
	noStale    bool // note does not wake the other half
	noRetry    bool // run does not ask whether the deadline was a wake-up
	noRestore  bool // restoreDeadline leaves the past deadline
	overrides  bool // setDeadline does not mind a wake-up
	noRearm    bool // fire forgets the direction whose event has not come
	edges      bool // crossPoller's registration tells of changes, not of states
	noKeep     bool // keepSending does nothing
	noClose    bool // Close wakes nobody
}

func (d design) setPast(m *model, s direction, past bool) {
	m.past[s] = past
	if past && m.half[s].pc == parked {
		m.half[s].pc = unblock
	}
}

func (d design) wake(m *model, s direction) {
	if m.half[s].waits && !m.half[s].woken {
		m.half[s].woken = true
		d.setPast(m, s, true)
	}
}

func (d design) restoreDeadline(m *model, s direction) {
	if m.half[s].woken {
		m.half[s].woken = false
		if !d.noRestore {
			d.setPast(m, s, m.half[s].deadline)
		}
	}
}

// holds reports whether the kernel says that the direction is ready.
func (m *model) holds(d direction) bool {
	if d == readable {
		return m.data || m.fin || m.reset
	}
	return m.room || m.reset
}

func (d design) watch(m *model, dir direction) {
	if m.watching[dir] {
		return
	}
	m.watching[dir] = true
	m.armed = m.watching
	if d.edges {
		m.armed = pairOf{}
	}
	m.duplicate = m.duplicate || d.duplicates
}

func (d design) keepSending(m *model) {
	if m.unsent && !m.half[writable].waits && !m.closing && !d.noKeep && m.open {
		d.watch(m, writable)
	}
}

// progress is note after an operation that moved something in a direction.
func (d design) progress(m *model, s, moved direction) {
	o := &m.half[1-s]
	if o.waits && o.want == moved {
		o.stale = true
		if !d.noStale {
			d.wake(m, 1-s)
		}
	}
}

func (d design) end(m *model, s direction) {
	x := &m.half[s]
	x.pc, x.waits, x.stale, x.want = idle, false, false, readable
	d.keepSending(m)
}

// try gives all outcomes of one: what the operation needs is OpenSSL's to say.
func (d design) try(m model, s direction, out []model) []model {
	m.half[s].waits, m.half[s].stale = false, false
	d.restoreDeadline(&m, s)
	if m.closing || m.reset {
		if !m.closing && s == readable && m.half[writable].waits {
			d.wake(&m, writable) // a failure of reading may be the connection's
		}
		d.end(&m, s)
		return append(out, m)
	}
	if s == writable && m.unsent && m.room {
		m.unsent = false
		d.progress(&m, s, writable)
	}
	return d.operate(m, s, 2, out)
}

func (d design) operate(m model, s direction, steps int, out []model) []model {
	if steps == 0 {
		d.end(&m, s)
		return append(out, m)
	}
	for _, need := range []direction{readable, writable} {
		n := m
		switch {
		case need == readable && n.data:
			n.data = false
			d.progress(&n, s, readable)
			out = d.operate(n, s, steps-1, out)
			d.end(&n, s)
			out = append(out, n)
		case need == readable && n.fin:
			if s == readable && n.half[writable].waits {
				d.wake(&n, writable)
			}
			d.end(&n, s)
			out = append(out, n)
		case need == writable && n.room:
			for _, n.room = range []bool{true, false} {
				p := n
				d.progress(&p, s, writable)
				out = d.operate(p, s, steps-1, out)
				d.end(&p, s)
				out = append(out, p)
			}
		default:
			if need == writable && !n.unsent && d.tail {
				p := n // the tail takes it
				p.unsent = true
				d.end(&p, s)
				out = append(out, p)
			}
			x := &n.half[s]
			x.want, x.waits, x.pc = need, true, decides
			if need != s {
				d.watch(&n, need)
			} else if s == readable {
				d.keepSending(&n)
			}
			out = append(out, n)
		}
	}
	return out
}

// fire is socket.fire and onReady.
func (d design) fire(m *model) {
	was := m.watching
	for dir := range m.watching {
		m.watching[dir] = m.watching[dir] && !m.firing[dir]
	}
	m.firing = pairOf{}
	if m.watching != (pairOf{}) && !d.noRearm && !d.edges {
		m.armed = m.watching
	}
	if !m.open || m.closing {
		return
	}
	if was[readable] && !m.watching[readable] && m.half[writable].waits && m.half[writable].want == readable {
		d.wake(m, writable)
	}
	if was[writable] && !m.watching[writable] {
		switch {
		case m.half[readable].waits && m.half[readable].want == writable:
			d.wake(m, readable)
		case m.unsent:
			m.unsent = !m.room && !m.reset
			d.keepSending(m)
		}
	}
}

// inside gives what can happen next without the peer or the application.
func (d design) inside(m model) (out []model) {
	for _, s := range []direction{readable, writable} {
		if m.edge[s] {
			n := m
			n.edge[s] = false
			if n.half[s].pc == parked {
				n.half[s].pc = event
			} else {
				n.ready[s] = true
			}
			out = append(out, n)
		}
		n := m
		x := &n.half[s]
		switch x.pc {
		case idle, parked:
			continue
		case enters, decides, unblock:
			switch {
			case !n.open:
				d.end(&n, s)
			case n.past[s]:
				x.pc = late
			case x.pc == enters:
				n.ready[s], x.pc = false, tries
			case n.ready[s]:
				n.ready[s], x.pc = false, tries
			default:
				x.pc = parked
			}
		case event:
			x.pc = tries
		case tries:
			if !n.open { // raw.Read holds a descriptor that is being closed; its operations fail
				d.end(&n, s)
				break
			}
			out = d.try(n, s, out)
			continue
		case late:
			woken := x.woken && !d.noRetry
			d.restoreDeadline(&n, s)
			if woken {
				x.pc = enters
			} else {
				n.lied = !d.deadlines
				d.end(&n, s)
			}
		}
		out = append(out, n)
	}
	for _, dir := range []direction{readable, writable} {
		if m.armed[dir] && (m.open || m.duplicate) && m.holds(dir) {
			n := m
			for e := range n.firing { // EPOLLONESHOT: the event has all that holds
				n.firing[e] = n.firing[e] || n.armed[e] && n.holds(direction(e))
			}
			n.armed = pairOf{}
			out = append(out, n)
			break
		}
	}
	if m.firing != (pairOf{}) {
		n := m
		d.fire(&n)
		out = append(out, n)
	}
	if m.closing && m.open && m.half[readable].pc == idle && m.half[writable].pc == idle {
		n := m
		d.shut(&n)
		n.duplicate, n.armed = false, pairOf{} // socket.close
		out = append(out, n)
	}
	return out
}

// shut is the end of the owner's descriptor.
func (d design) shut(m *model) {
	m.open, m.edge = false, pairOf{}
	for s := range m.half {
		if m.half[s].pc == parked {
			m.half[s].pc = unblock
		}
	}
}

// changed is an event of the kernel's in a direction.
func (d design) changed(m *model, dir direction) {
	if m.open {
		m.edge[dir] = true
	}
	if d.edges && m.watching[dir] {
		m.armed[dir] = true
	}
}

// outside gives what the peer and the application can do.
func (d design) outside(m model) (out []model) {
	do := func(f func(n *model)) {
		n := m
		f(&n)
		out = append(out, n)
	}
	if !m.data && !m.fin && !m.reset {
		do(func(n *model) { n.data = true; d.changed(n, readable) })
	}
	if !m.room && !m.reset {
		do(func(n *model) { n.room = true; d.changed(n, writable) })
	}
	if !m.fin && !m.reset {
		do(func(n *model) { n.fin = true; d.changed(n, readable) })
	}
	if !m.reset {
		do(func(n *model) { n.reset = true; d.changed(n, readable); d.changed(n, writable) })
	}
	if !m.open {
		return out
	}
	if d.closes {
		do(func(n *model) { d.shut(n); n.armed = pairOf{} }) // NetConn().Close()
	}
	if m.closing {
		return out
	}
	if d.closes {
		do(func(n *model) {
			n.closing = true
			for _, s := range []direction{readable, writable} {
				if !d.noClose {
					d.wake(n, s)
				}
			}
		})
	}
	for _, s := range []direction{readable, writable} {
		if d.again && m.half[s].pc == idle {
			do(func(n *model) {
				n.half[s] = modelHalf{pc: enters, deadline: m.half[s].deadline, woken: m.half[s].woken}
			})
		}
		if !d.deadlines {
			continue
		}
		do(func(n *model) {
			x := &n.half[s]
			x.deadline = !x.deadline
			if !x.woken || d.overrides {
				d.setPast(n, s, x.deadline)
			}
		})
	}
	return out
}

// reduced leaves out what decides nothing any more, so that there are fewer states.
func (d design) reduced(m model) model {
	if m.reset {
		m.data, m.room, m.fin = false, false, false
	}
	if !m.open {
		m.edge, m.ready = pairOf{}, pairOf{}
		if !m.duplicate {
			m.data, m.room, m.fin, m.reset, m.armed = false, false, false, false, pairOf{}
		}
	}
	for s := range m.half {
		if m.half[s].pc == idle && (!d.again || !m.open) {
			m.half[s], m.edge[s], m.ready[s], m.past[s] = modelHalf{}, false, false, false
		}
	}
	return m
}

// forgotten says who waits for what is there, in a state in which nothing
// happens without the peer or the application.
func (m *model) forgotten() string {
	for s, name := range []string{"the Read", "the Write"} {
		x := m.half[s]
		switch {
		case x.pc != parked:
		case !m.open:
			return name + " waits on a closed descriptor"
		case m.closing:
			return name + " waits in spite of Close"
		case x.deadline:
			return name + " waits behind its deadline"
		case m.holds(x.want):
			return name + fmt.Sprintf(" waits for direction %d, which is ready", x.want)
		case x.stale:
			return name + " waits for what has come with the other half's operation"
		}
	}
	switch {
	case !m.open && m.duplicate && !m.closing:
		return "the peer: the socket lives on behind its owner's Close"
	case m.open && !m.closing && m.unsent && m.room && !m.half[writable].waits:
		return "what the socket refused, which it would take now"
	}
	return ""
}

// explore follows all orders, those of few steps first, from a Read and a Write
// that begin, until there are no new states or more than limit. It returns the first fault,
// with how it came about, and how many states there are.
func (d design) explore(limit int) (fault string, states int) {
	start := model{open: true, room: true}
	start.half[readable].pc, start.half[writable].pc = enters, enters
	from := map[model]model{start: start}
	queue := []model{start}
	trail := func(m model) string {
		var b strings.Builder
		for ; m != start; m = from[m] {
			fmt.Fprintf(&b, "\n%+v", m)
		}
		return b.String()
	}
	quiet := map[model]bool{} // no cycle of inner steps leads from here
	for len(queue) > 0 && len(from) < limit {
		m := queue[0]
		queue = queue[1:]
		inner := d.inside(m)
		if m.lied {
			return "an operation ends for a deadline that nobody set" + trail(m), len(from)
		}
		if len(inner) == 0 {
			if who := m.forgotten(); who != "" {
				return who + trail(m), len(from)
			}
		}
		for _, n := range append(inner, d.outside(m)...) {
			n = d.reduced(n)
			if _, seen := from[n]; !seen {
				from[n] = m
				queue = append(queue, n)
			}
		}
	}
	for m := range from {
		if d.spins(m, quiet, map[model]bool{}) {
			return "a spin" + trail(m), len(from)
		}
	}
	return "", len(from)
}

// spins reports whether inner steps alone can go on for ever.
func (d design) spins(m model, quiet, path map[model]bool) bool {
	if quiet[m] {
		return false
	}
	if path[m] {
		return true
	}
	path[m] = true
	for _, n := range d.inside(m) {
		if d.spins(d.reduced(n), quiet, path) {
			return true
		}
	}
	delete(path, m)
	quiet[m] = true
	return false
}

// few is where the ordinary form ends. TestModelSees shows that it is enough to
// find what can go wrong; -exhaustive goes to the end.
const few = 100_000

// TestModel: in no order of events, attempts, wake-ups and deadlines is anybody
// forgotten. The ordinary form looks at those of the fewest steps.
func TestModel(t *testing.T) {
	all := scope{true, true, true, true}
	limit, scopes := few, []scope{{deadlines: true}, {tail: true}, {closes: true}, all}
	if *exhaustive {
		limit, scopes = math.MaxInt, []scope{all}
	}
	for _, s := range scopes {
		fault, states := design{scope: s}.explore(limit)
		if fault != "" {
			t.Fatal(fault)
		}
		if *exhaustive {
			figures.Record(t, "sslnet-model", "%d states", states)
		}
	}
}

// TestModelSees: the model finds what each rule of the design is there for.
func TestModelSees(t *testing.T) {
	deadlines, tail, closes := scope{deadlines: true}, scope{tail: true}, scope{closes: true}
	for name, d := range map[string]design{
		"a duplicate keeps the socket open":  {scope: closes, duplicates: true},
		"progress does not wake the other":   {noStale: true},
		"a wake-up is taken for a deadline":  {noRetry: true},
		"a wake-up leaves its deadline":      {noRestore: true},
		"a deadline overrides a wake-up":     {scope: deadlines, overrides: true},
		"one event of two is asked for":      {noRearm: true},
		"an event that came before is lost":  {edges: true},
		"nobody sends what was refused":      {scope: tail, noKeep: true},
		"Close leaves those that wait alone": {scope: closes, noClose: true},
	} {
		t.Run(name, func(t *testing.T) {
			if fault, _ := d.explore(few); fault == "" {
				t.Error("not seen")
			}
		})
	}
}
