package session

import (
	"fmt"
	"slices"

	"github.com/spacemonad/go-openssl/tlsio"
)

// call is a method of the engine, with what decides which answers it can give.
type call uint8

const (
	callHandshake call = iota // the first one
	callCarryOn               // Handshake after KeyUpdate or Renegotiate
	callKeyUpdate
	callRenegotiate
	callRead
	callDiscard // Read after close_notify, during Close, where the number of bytes matters
	callWrite
	callFlush
	callShutdown
	callNames
)

// names are those of scripted.
var names = [callNames]string{"H", "H", "K", "N", "R", "R", "W", "F", "S"}

// answer is a result and its name in the notation of scripted.
type answer struct {
	tlsio.Result
	text string
	// failed: the session must take it for an error, also where it looks like a want.
	failed bool
}

// results are the answers of a call without the flags.
func (p *profile) results(c call, units int) []string {
	var a []string
	wants := []string{"want_read", "want_write"}
	crossing := p.crossing
	switch c {
	case callHandshake:
		a = []string{"ok", "want_read", "want_write", "err", "fin"}
		crossing = false // no application data before the end of the handshake
	case callCarryOn:
		a = append(wants, "ok", "err", "eof", "fin")
	case callKeyUpdate, callRenegotiate:
		a = append(wants, "ok", "err", "eof", "fin", "state")
	case callRead:
		a = []string{"2", "1+drained", "want_read", "eof", "fin", "err"}
		if p.crossing {
			a = append(a, "want_write")
		}
		crossing = p.strange // a read that waits for a read: dishonest
	case callDiscard:
		a = []string{"1", "2", "1+drained", "2+drained", "want_read", "eof", "fin", "err"}
		if p.crossing {
			a = append(a, "want_write")
		}
		crossing = p.strange
	case callWrite:
		for n := 1; n <= units; n++ {
			a = append(a, fmt.Sprint(n))
		}
		a = append(a, "want_write", "err")
		if units > 1 {
			a = append(a, "err+1")
		}
		if p.crossing {
			a = append(a, "want_read", "eof", "fin")
		}
	case callFlush:
		crossing = false
		a = []string{"ok", "want_write", "err"}
	case callShutdown:
		a = []string{"ok", "want_write", "err"}
		if p.crossing {
			a = append(a, "want_read", "eof", "fin")
		}
	}
	if crossing {
		a = append(a, "app_read")
	}
	if p.waits && c != callFlush {
		a = append(a, "retry_verify") // the others of its kind are the same to a session
	}
	if p.strange {
		a = append(a, "unknown")
	}
	return a
}

// flagged are the ways in which a call can move ciphertext: In or not, Out or not, and what
// is left for the transport afterwards. What was left can only have gone if it was moved.
func (p *profile) flagged(c call, text string, before output) []string {
	type way struct {
		out   bool
		after output
	}
	ways := []way{{false, before}, {true, outClean}}
	if before == outClean && !p.moves {
		ways = ways[:1]
	}
	if p.tail {
		if before == outUnsent {
			ways = append(ways, way{true, outUnsent})
		} else {
			ways = append(ways, way{false, outUnsent}, way{true, outUnsent})
		}
	}
	if p.tail && c == callHandshake && text == "ok" {
		ways = append(ways, way{false, outHeld}, way{true, outHeld}) // tickets
	}
	if c == callFlush {
		switch {
		case text == "want_write":
			ways = []way{{false, outUnsent}, {true, outUnsent}}
		case text == "ok":
			ways = []way{{true, outClean}}
		default:
			ways = []way{{false, outClean}}
		}
	}
	var all []string
	for _, in := range []string{"", "+in"} {
		if in != "" && (c == callFlush || !p.moves || text == "err" && c != callWrite && c != callShutdown) {
			break // it would change nothing
		}
		seen := map[way]bool{}
		for _, o := range ways {
			if seen[o] {
				continue
			}
			seen[o] = true
			flags := in
			if o.out {
				flags += "+out"
			}
			all = append(all, flags+[outputs]string{"", "+unsent", "+held"}[o.after])
		}
	}
	return all
}

// fill makes the table of answers.
func (p *profile) fill() {
	if p.answers != nil {
		return
	}
	p.answers = make(map[question][]answer)
	p.bytes = pattern(0, 40*p.unit)
	for _, act := range p.inside {
		p.acts = append(p.acts, answer{text: act})
	}
	for c := range callNames {
		most := 0
		if c == callWrite {
			most = p.maxQueue
		}
		for units := 0; units <= most; units++ {
			for before := range outputs {
				if before != outClean && !p.tail {
					continue
				}
				var list []answer
				for _, text := range p.results(c, units) {
					for _, flags := range p.flagged(c, text, before) {
						list = append(list, p.parse(c, text+flags))
					}
				}
				p.answers[question{c, before, uint8(units), false}] = list
				p.answers[question{c, before, uint8(units), true}] = slices.DeleteFunc(slices.Clone(list), inputNeeded)
			}
		}
	}
	p.kind = make(map[kindness]answer)
	for c := range callNames {
		for units := range p.maxQueue + 1 {
			for _, o := range []bool{false, true} {
				for _, f := range []bool{false, true} {
					k := kindness{c, uint8(units), o, f}
					p.kind[k] = p.kindly(k)
				}
			}
		}
	}
}

// question is what the list of possible answers depends on.
type question struct {
	call   call
	before output
	units  uint8 // of a Write
	ended  bool  // nothing more can come from the peer
}

// inputNeeded: the answer is not possible after the peer's end.
func inputNeeded(a answer) bool {
	return a.In || a.Want == tlsio.WantRead || a.Want == tlsio.WantAppRead
}

func (p *profile) parse(c call, text string) answer {
	_, r := parseStep(nil, names[c]+":"+text)
	r.N *= p.unit
	failed := r.Err != nil || r.Want > tlsio.WantAppRead || names[c] == "R" && r.Want == tlsio.WantAppRead
	return answer{Result: r, text: names[c] + ":" + text, failed: failed}
}

// kindness is what a kind answer depends on.
type kindness struct {
	call   call
	units  uint8
	output bool // something is left for the transport
	fin    bool
}

// kindly is what a willing engine answers: everything succeeds at once, and the
// peer says nothing but its end, when it has seen ours.
func (p *profile) kindly(k kindness) answer {
	text := "ok"
	switch k.call {
	case callRead, callDiscard:
		text = "want_read"
		if k.fin {
			text = "eof"
		}
	case callWrite:
		text = fmt.Sprint(k.units)
	}
	if k.output {
		text += "+out"
	}
	return p.parse(k.call, text)
}
