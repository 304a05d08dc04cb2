package report

import "time"

// Format is the version of the JSON that this package writes and reads.
const Format = 1

// Data is everything that sslbench compare has measured: the raw JSON of a report.
type Data struct {
	Format int       `json:"format"` // the constant Format
	Taken  time.Time `json:"taken"`
	Quick  bool      `json:"quick"`
	// Incomplete is why the report is not whole ("stopped by a signal"); "": it is.
	Incomplete string `json:"incomplete,omitempty"`
	// RoundMillis is how long a round lasts, in ms, and RoundsEach how many of them each
	// server has at each point, where an experiment does not differ; 0: not known.
	RoundMillis int `json:"round_ms"`
	RoundsEach  int `json:"rounds"`

	Commands []string `json:"commands"` // what to type to repeat it
	Machine  Machine  `json:"machine"`
	// Baseline is the name of the server that ratios refer to; "": there are no ratios.
	Baseline string `json:"baseline"`
	// Subject is the server that the summary is about; "": the first one that
	// was measured and is not the baseline.
	Subject     string       `json:"subject,omitempty"`
	Servers     []Server     `json:"servers"`
	Experiments []Experiment `json:"experiments"`
	Primitives  []Primitive  `json:"primitives"`
}

// Machine is what it was measured on.
type Machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Memory  int64  `json:"memory_bytes"`
	Kernel  string `json:"kernel"`
	OpenSSL string `json:"openssl"`
	Go      string `json:"go"`
}

// Server is one that was measured, or that could not be. Their order is the order of
// the columns, and a server's place in it decides its colour and marker.
type Server struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Commands has every way in which it was started. The first stands in the table of the servers.
	Commands []Command `json:"commands,omitempty"`
	Missing  string    `json:"missing,omitempty"` // why it was not measured
}

// Command is one way in which a server was started.
type Command struct {
	For    string `json:"for,omitempty"`    // what it was used for: "reverse", "handshakes, RSA 2048, TLS 1.2"
	Line   string `json:"line"`             // the command line, without this machine's temporary paths
	Config string `json:"config,omitempty"` // the text of the configuration file, of any number of lines
	Note   string `json:"note,omitempty"`   // what else matters, in a sentence
}

// Primitive is the cost of one operation of libcrypto, as openssl speed gives it.
type Primitive struct {
	Name    string  `json:"name"` // such as "aes-256-gcm, 1024 bytes", "sign rsa2048"
	Seconds float64 `json:"seconds"`
}

// Experiment is one series of measurements over the same x axis.
type Experiment struct {
	// ID is a file name of small letters, digits and hyphens: "size", "conns",
	// "latency", "idle", "handshake", …
	ID    string `json:"id"`
	Title string `json:"title"` // one line
	What  string `json:"what"`  // a paragraph: what was done, how, with which settings
	// Setup is one line such as "TLS 1.3, ECDSA P-256, TLS_AES_256_GCM_SHA384, x25519".
	Setup  string `json:"setup,omitempty"`
	Unit   string `json:"unit"` // of work: "echo", "handshake", "GB", "connection"
	Metric Metric `json:"metric"`
	// Baseline replaces Data.Baseline where that server cannot take part.
	Baseline string  `json:"baseline,omitempty"`
	X        Axis    `json:"x"`
	Points   []Point `json:"points"`
	// Failed has what could not be measured, and why.
	Failed []Failed `json:"failed,omitempty"`
}

// Axis is the x axis. Categories (Label of the points) stand in the order of X.
type Axis struct {
	Label      string `json:"label"` // with its unit, such as "message size, bytes"
	Log        bool   `json:"log"`
	Categories bool   `json:"categories"`
	// Bytes: x is a number of bytes and is written as 64, 1 KiB, 1 MiB.
	Bytes bool `json:"bytes,omitempty"`
}

// Metric is the figure of a Round that an experiment is about; the others go into its table too.
type Metric string

const (
	CPU    Metric = "cpu"    // the server's CPU time for one unit
	Rate   Metric = "rate"   // units a second; the only one of which more is better
	P50    Metric = "p50"    // latency
	P99    Metric = "p99"    // latency; p50 is shown beside it
	P999   Metric = "p999"   // latency
	Memory Metric = "memory" // resident
	Peak   Metric = "peak"   // the most that was resident
)

// Point is one server at one x. Every server has at most one for each x.
type Point struct {
	Server string  `json:"server"`
	X      float64 `json:"x"`
	Label  string  `json:"label,omitempty"` // for categories
	// Calculated: no server was measured, it is a sum of others' figures (the
	// floor). Its name need not be among Data.Servers.
	Calculated bool `json:"calculated,omitempty"`
	// Rounds are in the order of time: round i of each server was measured
	// next to round i of the others.
	Rounds []Round `json:"rounds"`
}

// Round is one measurement. What was not measured is 0.
type Round struct {
	CPU    float64 `json:"cpu_us,omitempty"` // µs of the server's CPU time, user + system, all threads, for one unit
	Rate   float64 `json:"rate,omitempty"`   // units a second
	P50    float64 `json:"p50_us,omitempty"`
	P99    float64 `json:"p99_us,omitempty"`
	P999   float64 `json:"p999_us,omitempty"`
	Memory int64   `json:"memory_bytes,omitempty"` // resident when the round ended
	Peak   int64   `json:"peak_bytes,omitempty"`   // the most that was resident since the server started
}

// Failed is a server that did not get through a point.
type Failed struct {
	Server string  `json:"server"`
	X      float64 `json:"x"`
	Label  string  `json:"label,omitempty"`
	// All: it failed for the whole experiment (it did not start, say), and X and
	// Label say nothing.
	All bool   `json:"all,omitempty"`
	Why string `json:"why"`
}
