package session

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// origin is how a state was reached first: the number of the state before, and the step in bytes, which
// are the act's number in the profile and the choices.
type origin struct {
	parent int32
	step   string
}

// search goes through the states of a profile, breadth first.
type search struct {
	p       *profile
	visited map[state]struct{}
	origins []origin // by a state's number
	// frontier are the states that the last level found. Their numbers end with the last one given.
	frontier []state
	depth    int
	complete bool // no state is left that was not followed

	transitions atomic.Int64
	closed      int
	failed      []violated
	mu          sync.Mutex
}

// violated is a broken rule.
type violated struct {
	what string
	from int32 // the state before
	step string
}

// newWorld makes a world before its first step.
func newWorld(p *profile) *world {
	w := &world{p: p, cfg: &Config{
		HighWater: p.high * p.unit, LowWater: p.low * p.unit, MaxQueue: p.maxQueue * p.unit,
		TurnBytes: p.turn, LingerBytes: p.linger * p.unit, HalfClose: !p.plainHandler, Buffer: make([]byte, 2*p.unit),
	}}
	w.cfg.fill() // as Init does, which a state that is taken up again does not come through
	w.engines = [2]Engine{engine{w}, engine{w}}
	if p.upgrades {
		w.engines[0] = clearEngine{w}
	}
	w.handler = w
	if p.plainHandler {
		w.handler = undrained{w}
	}
	return w
}

func newSearch(p *profile) *search {
	p.fill()
	s := &search{p: p, visited: map[state]struct{}{}}
	s.frontier = []state{{}}
	s.visited[state{}] = struct{}{}
	s.origins = []origin{{parent: -1}}
	return s
}

// level follows each state of the frontier by one step, and answers false when
// there is no more to do or a rule was broken.
func (s *search) level() bool {
	const block = 64
	var at atomic.Int64
	first := len(s.origins) - len(s.frontier)
	found := make([]map[state]origin, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range found {
		found[i] = map[state]origin{}
		wg.Go(func() {
			w := newWorld(s.p)
			for {
				from := int(at.Add(block)) - block
				if from >= len(s.frontier) {
					return
				}
				for j := from; j < min(from+block, len(s.frontier)); j++ {
					s.follow(w, &s.frontier[j], int32(first+j), found[i])
				}
			}
		})
	}
	wg.Wait()
	if len(s.failed) > 0 {
		return false
	}
	s.depth++
	s.frontier = s.frontier[:0:0]
	for _, m := range found {
		for st, o := range m {
			if _, ok := s.visited[st]; ok {
				continue
			}
			s.visited[st] = struct{}{}
			if st.closed {
				s.closed++
				continue // its afterlife was looked at
			}
			s.frontier = append(s.frontier, st)
			s.origins = append(s.origins, o)
		}
	}
	s.complete = len(s.frontier) == 0
	return !s.complete
}

// follow takes each possible step from st.
func (s *search) follow(w *world, st *state, id int32, found map[state]origin) {
	n := int64(0)
	for i, act := range s.p.outside {
		if useless(st, act) {
			continue
		}
		w.script, w.limits = w.script[:0], w.limits[:0]
		for more := true; more; more = w.advance() {
			n++
			var next state
			what := w.guard(func() {
				w.load(st)
				w.at = 0
				w.act(act, false)
				w.check()
				next = w.store()
			})
			step := func() string { return string(append([]byte{byte(i)}, w.script[:w.at]...)) }
			if what == "" {
				if _, ok := s.visited[next]; ok {
					continue
				}
				if _, ok := found[next]; ok {
					continue
				}
				found[next] = origin{id, step()}
				what = w.guard(func() { w.lookAhead(&next) })
			}
			if what != "" {
				s.mu.Lock()
				s.failed = append(s.failed, violated{what, id, step()})
				s.mu.Unlock()
				return
			}
		}
	}
	s.transitions.Add(n)
}

// useless cuts a symmetry: an event in a direction that nobody waits for is the same as none.
func useless(st *state, act string) bool {
	var waits Event
	for op := range operations {
		waits |= eventOf(st.want[op]) | eventOf(st.blocked[op])
	}
	switch act {
	case "readyR":
		return waits&Readable == 0
	case "readyW":
		return waits&Writable == 0
	case "readyRW":
		return waits != Readable|Writable
	case "upgrade", "upgrade1":
		return st.second
	case "expectpeer":
		return *st != state{} // it is a setting, before all else
	case "pause":
		return st.memory.paused
	case "resume":
		return !st.memory.paused
	}
	return false
}

// advance makes w.script the next choices, and answers false when all were taken.
func (w *world) advance() bool {
	for i := w.at - 1; i >= 0; i-- {
		if w.script[i]+1 < w.limits[i] {
			w.script[i]++
			w.script, w.limits = w.script[:i+1], w.limits[:i+1]
			return true
		}
	}
	return false
}

// guard runs f and answers which rule it broke.
func (w *world) guard(f func()) (what string) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case violation:
			what = string(v)
		default:
			what = fmt.Sprintf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	f()
	return ""
}

// lookAhead checks what must be possible from a state on.
func (w *world) lookAhead(st *state) {
	if st.closed {
		for _, act := range w.p.outside {
			w.load(st)
			w.act(act, false)
			if w.check(); w.calls > 0 {
				w.fail("%s after OnClose calls the engine", act)
			}
		}
		return
	}
	for _, look := range []func(){w.rests, w.ends} {
		w.load(st)
		look()
	}
}

// path is the steps that lead to a violation, as names that replay takes.
func (s *search) path(v violated) []string {
	steps := []string{v.step}
	for id := v.from; id > 0; id = s.origins[id].parent {
		steps = append(steps, s.origins[id].step)
	}
	slices.Reverse(steps)
	w := newWorld(s.p)
	w.record = true
	st := state{}
	for _, step := range steps {
		act := s.p.outside[step[0]]
		w.history = append(w.history, act)
		w.guard(func() {
			w.load(&st)
			w.script, w.at = []byte(step[1:]), 0
			w.limits = make([]byte, len(w.script))
			w.act(act, false)
			st = w.store()
		})
	}
	return w.history
}

// report is the first violation with the steps that lead to it, one to a line, and how to repeat them.
func (s *search) report() string {
	v := slices.MinFunc(s.failed, func(a, b violated) int { return strings.Compare(a.what+a.step, b.what+b.step) })
	path := s.path(v)
	var b strings.Builder
	fmt.Fprintf(&b, "profile %s, step %d: %s", s.p.name, s.depth+1, v.what)
	for _, t := range path {
		if slices.Contains(s.p.outside, t) {
			b.WriteString("\n\t")
		}
		b.WriteString(t + " ")
	}
	fmt.Fprintf(&b, "\nto repeat: go test ./session -run 'TestExhaustiveReplay$' -replay '%s %s'", s.p.name, strings.Join(path, " "))
	return b.String()
}

// replay takes the steps of a path and answers the rule that was broken, or "".
func replay(p *profile, path []string) string {
	p.fill()
	w := newWorld(p)
	w.tokens = path
	st := state{}
	w.load(&st)
	return w.guard(func() {
		for len(w.tokens) > 0 {
			act := w.tokens[0]
			w.tokens = w.tokens[1:]
			w.act(act, false)
			w.check()
			st = w.store()
			rest := w.tokens
			w.lookAhead(&st)
			w.tokens = rest
			w.load(&st)
		}
	})
}
