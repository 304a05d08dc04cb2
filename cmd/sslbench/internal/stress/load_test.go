package stress

import (
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// runTime is how long TestManyConnections echoes.
var runTime = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("STRESS_TIME")); err == nil {
		return d
	}
	return scaled(10*time.Minute, time.Second)
}()

// room is for how many connections a process has files, with a few left for the rest of it, but no more than want.
func room(t *testing.T, want int) int {
	t.Helper()
	var l unix.Rlimit
	tlstest.Must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &l))
	return int(min(uint64(want), l.Max-300))
}

// TestManyConnections: as many connections as a process may have files echo at a low rate for a long time, and each byte is right.
// When they have gone, so has their memory: the second time takes no more than the first.
func TestManyConnections(t *testing.T) {
	alone(t)
	n := room(t, scaled(20000, 300))
	s := sslecho(t)
	start := s.resident()
	once := func(d time.Duration) (r load.Result, with, after size) {
		l := clients(t, messages(s.addr, n, float64(n)/4))
		with = s.resident()
		r = tlstest.Value(good(l.Run(t.Context(), d)))(t)
		if r.Open != n || r.Opened != 0 {
			t.Errorf("of %d connections %d are left, %d were replaced", n, r.Open, r.Opened)
		}
		if got := s.files(); got < n {
			t.Errorf("the server has %d files for %d connections", got, n)
		}
		l.Close()
		s.without(0)
		if full { // sslecho gives the memory of a crowd that has gone back to the system; a few hundred are none
			waitFor(t, "memory to come back", func() bool { return s.resident() < start+(with-start)/2 })
		}
		return r, with, s.resident()
	}
	_, first, afterFirst := once(scaled(10*time.Second, 300*time.Millisecond))
	r, second, afterSecond := once(runTime)
	if second > first+growth(first) || afterSecond > afterFirst+growth(first) {
		t.Errorf("resident: at first %v and then %v, the second time %v and then %v", first, afterFirst, second, afterSecond)
	}
	s.stop()
	at := func(q float64) time.Duration { return show(time.Duration(r.Latency.ValueAtQuantile(q))) }
	record(t, "stress-connections", "%d connections of one sslecho (as many as the limit of files allows), %.0f echoes of 256 bytes a second "+
		"for %v, %d in all and each byte right: p50 %v, p99 %v, longest %v; resident at the start %v, with all connections %v, "+
		"after them %v, the second time %v and %v", n, float64(r.Units)/runTime.Seconds(), runTime, r.Units,
		at(50), at(99), at(100), start, first, afterFirst, second, afterSecond)
}

// TestIdle: connections that say nothing cost memory, and no turn of a loop. A process may not have 100,000 files,
// so there are several servers, and as many processes of clients.
func TestIdle(t *testing.T) {
	alone(t)
	each := room(t, scaled(16700, 100))
	servers := make([]*process, scaled(6, 2))
	// of adds up what each server has.
	of := func(f func(*process) int64) (sum int64) {
		for _, s := range servers {
			sum += f(s)
		}
		return sum
	}
	turns := func(s *process) int64 { return int64(s.report().Stats.Turns) }
	// held is what they hold of memory, and what the kernel's objects take, of the whole machine.
	held := func() [2]int64 {
		return [2]int64{of(func(s *process) int64 { return int64(s.resident()) }), int64(inProc(t, "/proc/meminfo", "Slab:"))}
	}
	for i := range servers {
		servers[i] = server(t, settings{})
	}
	base := held()
	var cs []*process
	for _, s := range servers {
		cs = append(cs, child(t, "idle", idleSettings{s.addr, each}))
	}
	for _, c := range cs {
		tlstest.Equal(t, "clients", c.line(), "open")
	}
	rest := scaled(60*time.Second, 300*time.Millisecond)
	var with [2]int64
	// At first buffers are given back.
	waitFor(t, "the loops to rest, with nothing to do", func() bool {
		with = held()
		before := of(turns)
		<-time.After(rest)
		return of(turns) == before
	})
	for i, s := range servers {
		if got := s.files(); got < each {
			t.Errorf("server %d has %d files for %d connections", i, got, each)
		}
		cs[i].stop()
		s.allGone()
		s.stop()
	}
	total := each * len(servers)
	kib := func(i int) float64 { return float64(with[i]-base[i]) / float64(total) / 1024 }
	record(t, "stress-idle", "%d connections over %d servers. For each: %.1f KiB of the server's resident memory, in the kernel %.1f KiB, "+
		"for both ends. In %v: no turn of the loops", total, len(servers), kib(0), kib(1), rest)
}

// handshakes makes n of them, of a kind, and answers how many there were and what one has cost the server.
func (p *process) handshakes(l *load.Load, n int, d time.Duration) (done uint64, cost time.Duration) {
	p.t.Helper()
	before := p.cpu()
	for done < uint64(n) {
		done += tlstest.Value(good(l.Run(p.t.Context(), d)))(p.t).Units
	}
	return done, show((p.cpu() - before) / time.Duration(done))
}

// TestHandshakeStorm: handshakes as fast as they come, then silence: the memory comes back, so that a second storm
// needs no more than the first.
func TestHandshakeStorm(t *testing.T) {
	alone(t)
	s := sslecho(t)
	start := s.resident()
	var done uint64
	var peak, after [2]size
	var cost time.Duration
	for i := range peak {
		l := clients(t, loadConfig(s.addr, load.Handshake, scaled(500, 50)))
		done, cost = s.handshakes(l, scaled(50000, 300), scaled(5*time.Second, 100*time.Millisecond))
		l.Close()
		s.without(0)
		peak[i] = s.peak()
		<-time.After(scaled(20*time.Second, 0))
		after[i] = s.resident()
	}
	if after[1] > after[0]+growth(after[0]) || peak[1] > peak[0]+growth(peak[0]) {
		t.Errorf("resident after the storms %v, peaks %v", after, peak)
	}
	if full && after[0] > start+(peak[0]-start)/2 {
		t.Errorf("resident at the start %v, at the most %v, and in the silence %v", start, peak[0], after[0])
	}
	beside(t, s.addr, 5, 100)()
	s.stop()
	record(t, "stress-storm", "%d full handshakes of 500 clients at once (%v of CPU time each), then 20 s of silence, twice: resident "+
		"at the start %v, at the most %v and %v, in the silence %v and %v", done, cost, start, peak[0], peak[1], after[0], after[1])
}

// TestTickets: a client that resumes again and again gets a ticket each time. The server keeps nothing for them.
func TestTickets(t *testing.T) {
	alone(t)
	s := sslecho(t)
	l := clients(t, loadConfig(s.addr, load.Resume, 20))
	end := beside(t, s.addr, scaled(50, 5), scaled(500.0, 50))
	var done uint64
	var after [2]size
	var cost time.Duration
	for i := range after {
		done, cost = s.handshakes(l, scaled(20000, 100), scaled(3*time.Second, 100*time.Millisecond))
		after[i] = s.resident()
	}
	l.Close()
	end()
	if after[1] > after[0]+growth(0) {
		t.Errorf("resident after so many tickets %v, after twice as many %v", after[0], after[1])
	}
	s.stop()
	record(t, "stress-tickets", "%d resumptions, each with a new ticket, twice: %v of CPU time each, resident %v and %v; "+
		"honest clients untouched", done, cost, after[0], after[1])
}
