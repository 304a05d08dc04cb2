package compare

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/rounds"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestTurn: each server goes first as often as the others.
func TestTurn(t *testing.T) {
	all := []*contender{{kind: server.Kind{Name: "a"}}, {kind: server.Kind{Name: "b"}}, {kind: server.Kind{Name: "c"}}}
	var got []string
	for n := range 4 {
		for _, s := range turn(all, n) {
			got = append(got, s.kind.Name)
		}
	}
	if s := strings.Join(got, ""); s != "abcbcacababc" {
		t.Error(s)
	}
	tlstest.Equal(t, "the turn of nobody", len(turn(nil, 3)), 0)
}

// TestRatios: a ratio is that of the same round and the workload's own figure, and
// there is none without the baseline.
func TestRatios(t *testing.T) {
	found := []rounds.Round{
		{Workload: "OpenLoop/x", Server: "C", Values: []rounds.Value{{X: 5, Unit: rounds.CPU}, {X: 100, Unit: rounds.P99}}},
		{Workload: "OpenLoop/x", Server: "sslecho", Values: []rounds.Value{{X: 5, Unit: rounds.CPU}, {X: 150, Unit: rounds.P99}}},
	}
	got := withRatios(&workload{name: "OpenLoop/x", baseline: "C"}, found)
	for i, want := range []float64{1, 1.5} {
		if v := got[i].Values; len(v) != 3 || v[2] != (rounds.Value{X: want, Unit: "ratio-to-C"}) {
			t.Errorf("%v, want %v", v, want)
		}
	}
	if got := withRatios(&workload{name: "OpenLoop/x", baseline: "nginx"}, found); len(got[0].Values) != 3 {
		t.Errorf("%v", got)
	}
}

// TestWorkloads: names are unique, each baseline takes part, and a quick run has
// some of each kind.
func TestWorkloads(t *testing.T) {
	var names []string
	quick := map[string]bool{}
	for _, w := range workloads() {
		if slices.Contains(names, w.name) {
			t.Errorf("%s is there twice", w.name)
		}
		names = append(names, w.name)
		kind, _, _ := strings.Cut(w.name, "/")
		quick[kind] = quick[kind] || w.quick
		for _, s := range w.servers { // those that cannot do the work are left out
			i := slices.IndexFunc(server.Kinds, func(k server.Kind) bool { return k.Name == s })
			if i < 0 || s == w.baseline && !server.Kinds[i].Can(w.work) {
				t.Errorf("%s: %s cannot do %s", w.name, s, w.work)
			}
		}
	}
	for kind, some := range quick {
		if !some && kind != "IdleHTTP" {
			t.Errorf("a quick run has no %s", kind)
		}
	}
}

// TestCheck: options that make no sense are named.
func TestCheck(t *testing.T) {
	good := Options{Rounds: 1, Duration: time.Second}
	tlstest.Must(t, good.Check())
	for says, change := range map[string]func(*Options){
		"at least 1 round": func(o *Options) { o.Rounds = 0 },
		"at least 10ms":    func(o *Options) { o.Duration = time.Millisecond },
		`server "apache"`:  func(o *Options) { o.Servers = []string{"apache"} },
	} {
		o := good
		change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
