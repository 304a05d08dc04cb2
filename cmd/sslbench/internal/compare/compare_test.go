package compare

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// TestParts: what the floor of a unit of work is made of.
func TestParts(t *testing.T) {
	aes := func(n int) string { return server.AES256GCM(n).Name }
	for _, test := range []struct {
		name string
		got  parts
		tcp  bool
		want map[string]float64
	}{
		{"1 KiB echo", echoParts(cell{load: load.Config{Size: 1 << 10}}), true, map[string]float64{aes(1 << 10): 2}},
		{"16 KiB echo", echoParts(cell{load: load.Config{Size: 16 << 10}}), true, map[string]float64{aes(16 << 10): 2}},
		{"1 MiB echo", echoParts(cell{load: load.Config{Size: 1 << 20}}), true, map[string]float64{aes(16 << 10): 128}},
		{"stream", streamParts(cell{}), true, map[string]float64{aes(16 << 10): 1e6 / 16384}},
		{"RSA", handshakeParts(cell{cert: "rsa", version: "1.2"}), false, map[string]float64{"sign rsa2048": 1, "derive x25519": 2}},
		{"ECDSA", handshakeParts(cell{cert: "ecdsa", version: "1.3"}), false, map[string]float64{"sign ecdsap256": 1, "derive x25519": 2}},
		{"Ed25519", handshakeParts(cell{cert: "ed25519", version: "1.3"}), false, map[string]float64{"sign ed25519": 1, "derive x25519": 2}},
		{"resumed 1.3", handshakeParts(cell{label: "resumed, TLS 1.3", version: "1.3"}), false, map[string]float64{"derive x25519": 2}},
		{"resumed 1.2", handshakeParts(cell{label: "resumed, TLS 1.2", version: "1.2"}), false, map[string]float64{}},
	} {
		if test.got.tcp != test.tcp || len(test.got.ops) != len(test.want) {
			t.Errorf("%s: %+v", test.name, test.got)
		}
		for _, o := range test.got.ops {
			if test.want[o.op.Name] != o.times {
				t.Errorf("%s: %v × %s, want %v", test.name, o.times, o.op.Name, test.want[o.op.Name])
			}
		}
	}
}

// TestFloorPoints: the TCP echo's own rounds plus the cipher, and nothing where that was not measured.
func TestFloorPoints(t *testing.T) {
	e := &experiment{floor: echoParts, cells: []cell{{x: 1024, load: load.Config{Size: 1024}}, {x: 64, load: load.Config{Size: 64}}}}
	r := &runner{primitives: map[string]float64{server.AES256GCM(1024).Name: 0.5e-6, server.AES256GCM(64).Name: 0.1e-6}}
	got := r.floorPoints(e, []report.Point{
		{Server: server.CTCP, X: 1024, Rounds: []report.Round{{CPU: 7}, {CPU: 9}}},
		{Server: server.CTLS, X: 64, Rounds: []report.Round{{CPU: 5}}},
	})
	if len(got) != 1 || got[0].X != 1024 || !got[0].Calculated || len(got[0].Rounds) != 2 ||
		math.Abs(got[0].Rounds[0].CPU-8) > 1e-9 || math.Abs(got[0].Rounds[1].CPU-10) > 1e-9 {
		t.Errorf("%+v", got)
	}
	e = &experiment{floor: handshakeParts, cells: []cell{{cert: "ecdsa"}, {label: "resumed, TLS 1.2", version: "1.2"}}}
	r.primitives = map[string]float64{"sign ecdsap256": 20e-6, "derive x25519": 30e-6}
	if got := r.floorPoints(e, nil); len(got) != 1 || math.Abs(got[0].Rounds[0].CPU-80) > 1e-9 {
		t.Errorf("%+v", got)
	}
}

func TestUnits(t *testing.T) {
	res := load.Result{Units: 7, Sent: 3e6, Received: 1e6}
	if n := units(&experiment{unit: "echo"}, res); n != 7 {
		t.Errorf("%v echoes", n)
	}
	if n := units(&experiment{unit: "MB"}, res); n != 4 {
		t.Errorf("%v MB, want those of both directions", n)
	}
	for x, want := range map[float64]float64{0: 0, 7: 7, 123: 120, 8649: 8600, 43_210: 43_000, 99_900: 100_000} {
		if got := twoDigits(x); math.Abs(got-want) > 1e-6 {
			t.Errorf("twoDigits(%v) = %v", x, got)
		}
	}
}

// TestFailures: whatever went wrong fails a round; a rate that was too high says something about the server alone.
func TestFailures(t *testing.T) {
	if err := failures(load.Result{}); err != nil {
		t.Error(err)
	}
	slow := load.Result{Failures: map[load.Failure]uint64{load.TooSlow: 5}, Examples: map[load.Failure]string{load.TooSlow: "behind"}}
	var f finding
	if err := failures(slow); err == nil || !errors.As(err, &f) {
		t.Errorf("too slow: %v", err)
	}
	slow.Failures[load.WrongBytes] = 1
	if err := failures(slow); err == nil || errors.As(err, &f) {
		t.Errorf("wrong bytes: %v", err)
	}
}

// TestRounds: connections that do not fit into one process for all servers at once are opened anew for
// each of fewer rounds, and many connections get the time for a message each.
func TestRounds(t *testing.T) {
	r := &runner{Options: Options{Rounds: 9, Duration: 250 * time.Millisecond}, files: 20_000}
	many, few := cell{load: load.Config{Conns: 10_000}}, cell{load: load.Config{Conns: 64}}
	if r.keeps(many, 4) || !r.keeps(many, 1) || !r.keeps(few, 4) {
		t.Error("keeps")
	}
	if r.rounds(true) != 9 || r.rounds(false) != 3 {
		t.Error("rounds")
	}
	e := &experiment{}
	if d := r.duration(e, few); d != 250*time.Millisecond {
		t.Errorf("64 connections: %v", d)
	}
	if d := r.duration(e, many); d != time.Second {
		t.Errorf("10,000 connections: %v", d)
	}
	if d := r.duration(&experiment{scale: 3}, few); d != 750*time.Millisecond {
		t.Errorf("scaled: %v", d)
	}
}

// TestSameSetup: servers that do different work are not compared.
func TestSameSetup(t *testing.T) {
	var k server.Kind
	for _, k = range server.Kinds(server.Options{}) {
		if !k.Plain() {
			break
		}
	}
	r := &runner{}
	a := &contender{kind: k, setup: "TLSv1.3, TLS_AES_256_GCM_SHA384, x25519"}
	b := &contender{kind: k, setup: "TLSv1.3, TLS_AES_128_GCM_SHA256, x25519"}
	all := []*contender{a, b, {kind: k}}
	if err := r.sameSetup(cell{}, all[:1], a); err != nil {
		t.Error(err)
	}
	if err := r.sameSetup(cell{}, all, b); err == nil {
		t.Error("AES-128 beside AES-256 goes through")
	}
	if len(r.setups) != 1 || r.setups[0] != a.setup {
		t.Errorf("noted: %q", r.setups)
	}
}

// TestPlan: with a choice of servers, those that ratios refer to are measured too.
func TestPlan(t *testing.T) {
	r := &runner{
		Options: Options{Servers: []string{server.CryptoTLS}, Experiments: []string{"reverse"}, Baseline: server.CTLS, Rounds: 1},
		kinds:   map[string]server.Kind{}, data: &report.Data{}, files: 1000,
	}
	if todo := r.plan(); len(todo) != 1 || todo[0].id != "reverse" {
		t.Errorf("%d experiments", len(todo))
	}
	var names []string
	for _, s := range r.data.Servers {
		names = append(names, s.Name)
	}
	if len(names) != 3 || names[0] != server.SServer || names[1] != server.CryptoTLS || names[2] != server.CTLS || r.data.Subject != "" {
		t.Errorf("servers %q, subject %q", names, r.data.Subject)
	}
}
