package stress

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/internal/figures"
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

// growth is how much more memory a server may have after a load than after the same load before. What
// malloc keeps in pieces after the first time is none of that.
func growth(first int64) int64 {
	if tlstest.Sanitized {
		return 1 << 30 // the sanitizers keep what was freed
	}
	return first/4 + 32<<20
}

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
	const workers = 2
	once := func(d time.Duration) (r result, full, after int64, cpu time.Duration) {
		var load []*process
		rate := float64(n) / 4
		for range workers {
			load = append(load, clients(t, messages(s.addr, n/workers, rate/workers)))
		}
		for _, c := range load {
			c.tell("open", n/workers)
		}
		for _, c := range load {
			if o := c.good(); o.Open != n/workers {
				t.Fatalf("%d of %d are open", o.Open, n/workers)
			}
		}
		full = s.resident()
		before := s.cpu()
		for _, c := range load {
			c.tell("run", d)
		}
		for _, c := range load {
			o := c.good()
			if o.Open != n/workers || o.Opened != 0 {
				t.Errorf("of %d connections %d are left, %d were replaced", n/workers, o.Open, o.Opened)
			}
			r.Units += o.Units
			r.P99, r.P50, r.Max = max(r.P99, o.P99), max(r.P50, o.P50), max(r.Max, o.Max)
		}
		cpu = s.cpu() - before
		if got := s.files(); got < n {
			t.Errorf("the server has %d files for %d connections", got, n)
		}
		for _, c := range load {
			c.finish()
		}
		s.comesBack(start, full)
		return r, full, s.resident(), cpu
	}
	_, first, afterFirst, _ := once(scaled(10*time.Second, 300*time.Millisecond))
	r, second, afterSecond, cpu := once(runTime)
	if second > first+growth(first) || afterSecond > afterFirst+growth(first) {
		t.Errorf("resident: at first %s and then %s, the second time %s and then %s", mb(first), mb(afterFirst), mb(second), mb(afterSecond))
	}
	s.stop()
	text := fmt.Sprintf("%d connections of one sslecho (as many as the limit of files allows), %.0f echoes of 256 bytes a second for %v, "+
		"%d in all and each byte right: %.1f %% of a core, p50 %s, p99 %s, longest %s; resident at the start %s, with all connections %s, after them %s, "+
		"the second time %s and %s", n/workers*workers, float64(r.Units)/runTime.Seconds(), runTime, r.Units, 100*cpu.Seconds()/runTime.Seconds(),
		show(r.P50), show(r.P99), show(r.Max), mb(start), mb(first), mb(afterFirst), mb(second), mb(afterSecond))
	record(t, "stress-connections", text)
}

// comesBack waits until all connections have gone, and most of what they took: sslecho gives the memory of
// a crowd that has gone back to the system. A few hundred are none.
func (p *process) comesBack(start, with int64) {
	p.t.Helper()
	waitFor(p.t, "all connections to go", func() bool { return p.files() < 50 })
	if full {
		waitFor(p.t, "memory to come back", func() bool { return p.resident() < start+(with-start)/2 })
	}
}

// messages is a load of requests in an open loop.
func messages(target string, conns int, rate float64) load.Config {
	cfg := loadConfig(target, load.Request, conns)
	cfg.Size, cfg.Rate = 256, rate
	return cfg
}

// record keeps the figure of a full form.
func record(t *testing.T, name, text string) {
	t.Helper()
	if full {
		figures.Record(t, name, "%s", text)
	} else {
		t.Log(text)
	}
}

// TestIdle: connections that say nothing cost memory, and no turn of a loop. A process may not have 100,000 files,
// so there are several servers, and as many processes of clients.
func TestIdle(t *testing.T) {
	alone(t)
	each := room(t, scaled(16700, 100))
	servers := scaled(6, 2)
	var ss, cs []*process
	for range servers {
		s := server(t, settings{Loops: 2})
		ss, cs = append(ss, s), append(cs, clients(t, loadConfig(s.addr, load.Idle, each)))
	}
	base := held(t, ss)
	opened := time.Now()
	for _, c := range cs {
		c.tell("open", each)
	}
	for _, c := range cs {
		if r := c.good(); r.Open != each {
			t.Fatalf("%d of %d are open", r.Open, each)
		}
	}
	took := time.Since(opened)
	rest := scaled(60*time.Second, 300*time.Millisecond)
	var with holding
	var spent, turns int64
	// At first buffers are given back.
	waitFor(t, "the loops to rest, with nothing to do", func() bool {
		with = held(t, ss)
		before := ofAll(ss, func(s *process) int64 { return int64(s.cpu()) })
		<-time.After(rest)
		spent = ofAll(ss, func(s *process) int64 { return int64(s.cpu()) }) - before
		turns = ofAll(ss, func(s *process) int64 { return int64(s.report().Stats.Turns) }) - with.turns
		return turns == 0
	})
	for i, s := range ss {
		if got := s.files(); got < each {
			t.Errorf("server %d has %d files for %d connections", i, got, each)
		}
	}
	for _, c := range cs {
		c.finish()
	}
	for _, s := range ss {
		s.allGone()
		s.stop()
	}
	total := each * servers
	kib := func(before, now int64) float64 { return float64(now-before) / float64(total) / 1024 }
	record(t, "stress-idle", fmt.Sprintf("%d connections over %d servers, opened in %s. For each: %.1f KiB of the server's resident memory, "+
		"of which %.1f KiB are Go's and the rest OpenSSL's; in the kernel %.1f KiB, for both ends. In %v: %d turns of the loops, %.1f ms of CPU time of all servers",
		total, servers, show(took), kib(base.resident, with.resident), kib(base.golang, with.golang), kib(base.kernel, with.kernel),
		rest, turns, float64(spent)/1e6))
}

// holding is what servers hold of memory, in bytes, and how many turns their loops have taken.
type holding struct{ resident, golang, kernel, turns int64 }

func held(t *testing.T, ss []*process) (h holding) {
	t.Helper()
	for _, s := range ss {
		h.resident += s.resident()
		r := s.report()
		h.golang += r.Go
		h.turns += int64(r.Stats.Turns)
	}
	h.kernel = slab(t)
	return h
}

func ofAll(ss []*process, f func(*process) int64) (sum int64) {
	for _, s := range ss {
		sum += f(s)
	}
	return sum
}

// slab is how many bytes the kernel's objects take, those of the whole machine.
func slab(t *testing.T) int64 {
	t.Helper()
	b := tlstest.Value(os.ReadFile("/proc/meminfo"))(t)
	for s := range strings.Lines(string(b)) {
		if f := strings.Fields(s); f[0] == "Slab:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	t.Fatal("/proc/meminfo does not say how much the kernel's objects take")
	return 0
}

// TestHandshakeStorm: handshakes as fast as they come, then silence: the memory comes back, so that a second storm
// needs no more than the first.
func TestHandshakeStorm(t *testing.T) {
	alone(t)
	s := sslecho(t)
	want := uint64(scaled(50000, 300))
	start := s.resident()
	var done [2]uint64
	var peak, after [2]int64
	var took, cpu [2]time.Duration
	for i := range done {
		c := clients(t, loadConfig(s.addr, load.Handshake, scaled(500, 50)))
		before, began := s.cpu(), time.Now()
		for done[i] < want {
			c.tell("run", scaled(5*time.Second, 100*time.Millisecond))
			done[i] += c.good().Units
		}
		took[i], cpu[i] = time.Since(began), s.cpu()-before
		c.finish()
		waitFor(t, "all connections to go", func() bool { return s.files() < 50 })
		_, peak[i] = s.rss()
		<-time.After(scaled(20*time.Second, 0))
		after[i] = s.resident()
	}
	if after[1] > after[0]+growth(after[0]) || peak[1] > peak[0]+growth(peak[0]) {
		t.Errorf("resident after the storms %s and %s, peaks %s and %s", mb(after[0]), mb(after[1]), mb(peak[0]), mb(peak[1]))
	}
	if full && after[0] > start+(peak[0]-start)/2 {
		t.Errorf("resident at the start %s, at the most %s, and in the silence %s", mb(start), mb(peak[0]), mb(after[0]))
	}
	honest := beside(t, s.addr, 5, 100)
	honest.end(t)
	s.stop()
	record(t, "stress-storm", fmt.Sprintf("%d full handshakes of 500 clients at once in %s (%s of CPU time each), then 20 s of silence, twice: resident at the start %s, "+
		"at the most %s and %s, in the silence %s and %s", done[0], show(took[0]), show(cpu[0]/time.Duration(done[0])), mb(start),
		mb(peak[0]), mb(peak[1]), mb(after[0]), mb(after[1])))
}

// TestTickets: a client that resumes again and again gets a ticket each time. The server keeps nothing for them.
func TestTickets(t *testing.T) {
	alone(t)
	s := sslecho(t)
	c := clients(t, loadConfig(s.addr, load.Resume, 20))
	c.tell("open", 20)
	c.good()
	h := beside(t, s.addr, scaled(50, 5), scaled(500.0, 50))
	var done uint64
	var after [2]int64
	var cpu time.Duration
	for i := range after {
		before := s.cpu()
		done = 0
		for want := uint64(scaled(20000, 100)); done < want; {
			c.tell("run", scaled(3*time.Second, 100*time.Millisecond))
			done += c.good().Units
		}
		cpu = s.cpu() - before
		after[i] = s.resident()
	}
	c.finish()
	h.end(t)
	if after[1] > after[0]+growth(0) {
		t.Errorf("resident after so many tickets %s, after twice as many %s", mb(after[0]), mb(after[1]))
	}
	s.stop()
	record(t, "stress-tickets", fmt.Sprintf("%d resumptions, each with a new ticket, twice: %s of CPU time each, resident %s and %s; honest clients untouched",
		done, show(cpu/time.Duration(done)), mb(after[0]), mb(after[1])))
}
