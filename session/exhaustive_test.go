package session

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

var (
	exhaustiveFlag = flag.Bool("exhaustive", false, "TestExhaustive goes on until there is no new state: a minute")
	replayFlag     = flag.String("replay", "", "a profile and steps, as TestExhaustive prints them, for TestExhaustiveReplay")
)

// profile is an alphabet: which answers the engine gives, and which acts there are. All of it at
// once would be too much to go deep.
type profile struct {
	name string
	// short is the number of steps in the ordinary form of the test; 0 is until there is no new state.
	short int

	outside, inside []string // acts between turns, and inside the handler's methods; see world.act
	sizes

	moves        bool // operations move ciphertext, and so unblock others
	tail         bool // the engine may hold ciphertext that its transport refused, or tickets
	crossing     bool // reads that want to write, writes that want to read, and the rest of renegotiation
	waits        bool // operations wait for the application
	strange      bool // wants that nothing would ever end, which the session promises to survive
	upgrades     bool // the first engine is one without TLS
	plainHandler bool // no half-close, and a handler that does nothing in OnDrain

	bytes   []byte
	acts    []answer // inside
	answers map[question][]answer
	kind    map[kindness]answer
}

var (
	turns = []string{"ready", "readyR", "readyW", "readyRW", "expectpeer"}
	ends  = []string{"closewrite", "close", "abort", "deadline"}
	basic = slices.Concat(turns, ends, []string{"write", "write1", "write0", "pause", "resume"})
	inner = []string{"none", "write", "pause", "closewrite", "close", "abort", "readyRW"}
)

// sizes are those of a profile's session.
type sizes struct {
	unit, maxQueue, high, low, linger int // all but the first in units
	turn                              int // bytes
}

// small is a queue of few bytes: three may be queued, two are the high watermark and one the low one.
// A turn is one attempt, so that acts can come between any two.
var small = sizes{unit: 1, maxQueue: 3, high: 2, low: 1, linger: 2, turn: 1}

var profiles = []*profile{
	// Which operation waits for what, and what the application does meanwhile.
	{name: "wants", sizes: small, outside: basic, inside: inner, moves: true, crossing: true},
	// Ciphertext that the engine holds, and a handler that hears only what every handler must.
	{name: "tail", sizes: small, outside: basic, inside: inner[:5], moves: true, tail: true, plainHandler: true},
	// Handshakes after the first one.
	{name: "rekey", sizes: small, short: 5, outside: slices.Concat(turns, ends, []string{"write", "keyupdate", "renegotiate"}),
		inside: []string{"none", "write", "keyupdate"}, crossing: true, tail: true},
	// A larger queue, written in answer to input and of one's own accord.
	{name: "watermarks", outside: slices.Concat(turns, []string{"write", "write1", "pause", "resume", "close"}),
		inside: []string{"none", "write", "write1"}, crossing: true,
		sizes: sizes{unit: 1, maxQueue: 6, high: 4, low: 2, linger: 2, turn: 1}},
	// Chunks that fill up: a unit is half a record. Nothing is answered: an answer's share of the queue is a fraction.
	{name: "records", outside: slices.Concat(turns, []string{"write", "write1", "pause", "resume", "close"}), inside: []string{"none"},
		sizes: sizes{unit: tlsio.MaxPlaintext / 2, maxQueue: 5, high: 4, low: 2, linger: 2, turn: 1}},
	// Turns of several attempts. There are too many for all answers at once.
	{name: "turns", short: 3, outside: slices.Concat(turns, []string{"write", "pause", "resume", "close"}),
		inside: []string{"none", "write", "close"}, crossing: true,
		sizes: sizes{unit: 1, maxQueue: 3, high: 2, low: 1, linger: 2, turn: 3 * attemptCost}},
	// All at once.
	{name: "all", sizes: small, short: 2, outside: slices.Concat(basic, []string{"keyupdate", "renegotiate", "retry"}),
		inside: slices.Concat(inner, []string{"keyupdate", "panic"}), moves: true, crossing: true, tail: true, waits: true, strange: true},
	// An engine without TLS, and Upgrade at each moment. What is queued belongs to one engine or the other.
	{name: "upgrade", sizes: small, short: 5, outside: slices.Concat(turns, ends, []string{"write", "write1", "pause", "resume", "upgrade", "upgrade1"}),
		inside: []string{"none", "write1", "upgrade", "close"}, tail: true, upgrades: true},
}

// TestExhaustive follows every sequence of what the engine can answer and of what can happen outside, breadth
// first, and checks after each step what must always hold: see mayCall, mayClose, hear, check and store. From each new
// state it also lets a willing world go on: the work must come to an end, and a Close too (P01 to P04, P06 to P09, P11 to P18, P23, P35).
//
// A state that was met before is not followed again, so most profiles come to the point where no
// step leads to a new state: then every sequence of any length is covered, within the sizes of the profile.
func TestExhaustive(t *testing.T) {
	states, transitions := 0, int64(0)
	for _, p := range profiles {
		t.Run(p.name, func(t *testing.T) {
			depth := 0
			switch {
			case *exhaustiveFlag:
			case tlstest.Sanitized: // which makes each step slow
				depth = 2
			default:
				depth = p.short
			}
			s := newSearch(p)
			for (depth == 0 || s.depth < depth) && s.level() {
			}
			if len(s.failed) > 0 {
				t.Fatal(s.report())
			}
			reach := "no new state after"
			if !s.complete {
				reach = "stopped at"
			}
			t.Logf("%d states, %d of them closed, %d transitions, %s %d steps", len(s.visited), s.closed, s.transitions.Load(), reach, s.depth)
			if s.closed == 0 {
				t.Error("no session came to its end")
			}
			states += len(s.visited)
			transitions += s.transitions.Load()
		})
	}
	if !*exhaustiveFlag {
		return
	}
	figures.Record(t, "exhaustive", "%d states, %d transitions, %d profiles", states, transitions, len(profiles))
}

// paths are kept for TestExhaustiveReplay, in the notation that TestExhaustive prints: a profile, acts, and after each what
// the engine answers and what the handler does. A path that once led to a defect belongs here.
var paths = []string{
	// A renegotiation with data in its way while reading is paused, and close_notify behind it.
	"rekey ready H:ok open>write W:want_write+unsent readyW R:want_read+unsent readyW W:2+out renegotiate ready N:app_read closewrite ready R:2 ready H:ok ready S:ok",
	// A write fails with an alert unsent; what the peer sent is read before OnClose.
	"tail ready H:ok write ready R:2 W:err+out+unsent F:err ready R:eof",
	// A read takes what a write waits for; then the close, while paused.
	"wants ready H:ok ready R:want_read write ready W:want_read readyR R:want_read+in ready W:1 pause ready W:1 close ready S:ok readyR R:1+drained readyR R:eof",
	// An Upgrade while a write waits, with a unit behind it; begin finds the ClientHello.
	"upgrade ready H:ok write ready R:want_read ready W:1+out+unsent upgrade1 readyW W:want_write+out+unsent readyW W:1+out" +
		" begin>ready ready H:ok W:1 ready R:want_read",
	// The second chunk stays behind the frozen one.
	"records ready H:ok write write1 ready R:want_read ready W:want_write readyW W:1 ready W:1 ready W:1",
}

// TestExhaustiveReplay repeats the paths that are kept, or the one that -replay names.
func TestExhaustiveReplay(t *testing.T) {
	list := paths
	if *replayFlag != "" {
		list = []string{*replayFlag}
	}
	for _, path := range list {
		name, steps, _ := strings.Cut(path, " ")
		i := slices.IndexFunc(profiles, func(p *profile) bool { return p.name == name })
		if i < 0 {
			t.Fatalf("no profile %q", name)
		}
		if what := replay(profiles[i], strings.Fields(steps)); what != "" {
			t.Errorf("%s\n%s", path, what)
		}
	}
}
