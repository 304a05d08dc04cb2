package session

import (
	"strings"
	"testing"
)

// FuzzActs takes the input for a profile of TestExhaustive and a sequence of acts, of what the engine answers and of what the
// handler does; the rules are the same. It goes as deep as the input is long.
func FuzzActs(f *testing.F) {
	for i := range profiles {
		f.Add([]byte{byte(i), 0, 0})
		f.Add([]byte{byte(i), 0, 0, 1, 9, 0, 1, 2, 0, 3, 6, 0, 0, 1, 1, 1, 0, 1})
		f.Add([]byte{byte(i), 9, 0, 0, 1, 9, 3, 2, 5, 8, 0, 4, 0, 0, 0, 10, 3, 11, 0, 0, 7, 3, 0, 1, 0, 2, 0})
	}
	for _, p := range profiles {
		p.fill()
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		draw := func(n int) int {
			if len(input) == 0 {
				return 0
			}
			v := int(input[0])
			input = input[1:]
			return v % n
		}
		p := profiles[draw(len(profiles))]
		w := newWorld(p)
		w.record = true
		var st state
		for steps := 0; len(input) > 0 && steps < 300 && !st.closed; steps++ {
			act := p.outside[draw(len(p.outside))]
			if useless(&st, act) {
				continue
			}
			w.history = append(w.history, act)
			what := w.guard(func() {
				w.load(&st)
				w.draw = draw
				w.act(act, false)
				w.check()
				st = w.store()
				w.draw, w.record = nil, false
				w.lookAhead(&st)
				w.record = true
			})
			if what != "" {
				t.Fatalf("%s\nto repeat: go test ./session -run 'TestExhaustiveReplay$' -replay '%s %s'", what, p.name, strings.Join(w.history, " "))
			}
		}
		w.s.queue.free()
	})
}
