package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
)

// loadReport is the JSON output. Its names are stable.
type loadReport struct {
	Settings loadSettings `json:"settings"`
	// Error says why the run ended early, or is empty.
	Error             string       `json:"error"`
	ElapsedSeconds    float64      `json:"elapsed_seconds"`
	Unit              string       `json:"unit"` // of units: "message", "handshake", "connection", or "" for streams
	Units             uint64       `json:"units"`
	UnitsPerSecond    float64      `json:"units_per_second"`
	SentBytes         uint64       `json:"sent_bytes"`
	ReceivedBytes     uint64       `json:"received_bytes"`
	SentPerSecond     float64      `json:"sent_bytes_per_second"`
	ReceivedPerSecond float64      `json:"received_bytes_per_second"`
	Opened            uint64       `json:"connections_opened"`
	Open              int          `json:"connections_open"`
	Latency           loadLatency  `json:"latency_us"`
	TLS               loadFacts    `json:"tls"`
	Failed            uint64       `json:"failed"`
	Failures          loadFailures `json:"failures"`
}

type loadSettings struct {
	Target       string   `json:"target"`
	Kind         string   `json:"kind"`
	Answer       string   `json:"answer"`
	Connections  int      `json:"connections"`
	Size         int      `json:"size_bytes"`
	Rate         float64  `json:"rate_per_second"` // 0: closed loop
	Ramp         float64  `json:"ramp_seconds"`
	Duration     float64  `json:"duration_seconds"`
	Warmup       float64  `json:"warmup_seconds"`
	Timeout      float64  `json:"timeout_seconds"`
	Loops        int      `json:"loops"`
	Verify       bool     `json:"verify"`
	ServerName   string   `json:"server_name"` // empty: the target's host
	MinVersion   string   `json:"min_version"`
	MaxVersion   string   `json:"max_version"`
	Ciphers      string   `json:"ciphers"`
	CipherSuites string   `json:"ciphersuites"`
	Groups       string   `json:"groups"`
	ALPN         []string `json:"alpn"`
	CAFile       string   `json:"ca_file"`
}

type loadLatency struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	Max   float64 `json:"max"`
}

type loadFacts struct {
	Version string `json:"version"`
	Cipher  string `json:"cipher"`
	Group   string `json:"group"`
	ALPN    string `json:"alpn"`
}

type loadFailures []loadFailure

func (l loadFailures) String() string {
	var parts []string
	for _, f := range l {
		parts = append(parts, fmt.Sprintf("%s: %d", f.Name, f.Count))
	}
	return strings.Join(parts, "; ")
}

type loadFailure struct {
	Name    string `json:"name"`
	Count   uint64 `json:"count"`
	Example string `json:"example"`
}

// unitOf is what a kind's units are.
func unitOf(k load.Kind) string {
	switch k {
	case load.Handshake, load.Resume:
		return "handshake"
	case load.Request:
		return "message"
	case load.Idle:
		return "connection"
	}
	return ""
}

func (o *loadOptions) report(r load.Result, err error) loadReport {
	c := &o.cfg
	perSecond := func(n uint64) float64 {
		if r.Elapsed <= 0 {
			return 0
		}
		return float64(n) / r.Elapsed.Seconds()
	}
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	h := r.Latency
	p := loadReport{
		Settings: loadSettings{
			Target: c.Target, Kind: o.kind, Answer: string(c.Answer), Connections: c.Conns, Size: c.Size, Rate: c.Rate,
			Ramp: c.Ramp.Seconds(), Duration: o.duration.Seconds(), Warmup: o.warmup.Seconds(), Timeout: c.Timeout.Seconds(),
			Loops: c.Loops, Verify: !o.insecure, ServerName: c.ServerName,
			MinVersion: o.minVersion, MaxVersion: o.maxVersion, Ciphers: c.TLS.CipherList, CipherSuites: c.TLS.CipherSuites,
			Groups: c.TLS.Groups, ALPN: append([]string{}, c.TLS.ALPN...), CAFile: c.TLS.CAFile,
		},
		ElapsedSeconds: r.Elapsed.Seconds(), Unit: unitOf(c.Kind), Units: r.Units, UnitsPerSecond: perSecond(r.Units),
		SentBytes: r.Sent, ReceivedBytes: r.Received, SentPerSecond: perSecond(r.Sent), ReceivedPerSecond: perSecond(r.Received),
		Opened: r.Opened, Open: r.Open,
		TLS:      loadFacts{r.Version, r.Cipher, r.Group, r.ALPN},
		Failures: loadFailures{},
	}
	if n := h.TotalCount(); n > 0 {
		p.Latency = loadLatency{n, us(h.Min()), h.Mean() / 1e3, us(h.ValueAtPercentile(50)), us(h.ValueAtPercentile(90)),
			us(h.ValueAtPercentile(99)), us(h.ValueAtPercentile(99.9)), us(h.Max())}
	}
	if c.Kind == load.Idle {
		p.UnitsPerSecond = 0 // they were opened before the time that was measured
	}
	if err != nil {
		p.Error = err.Error()
	}
	for _, what := range failuresOf(r) {
		p.Failed += r.Failures[what]
		p.Failures = append(p.Failures, loadFailure{string(what), r.Failures[what], r.Examples[what]})
	}
	return p
}

// write gives the result in the format that was asked for.
func (o *loadOptions) write(out io.Writer, r load.Result, err error) error {
	p := o.report(r, err)
	switch o.format {
	case "json":
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(p)
	case "csv":
		return p.csv(out)
	}
	return p.text(out)
}

// csv writes a line of names and one of values. The names are those of the JSON,
// joined by underscores.
func (p *loadReport) csv(out io.Writer) error {
	var header, row []string
	var put func(v reflect.Value, prefix string)
	put = func(v reflect.Value, prefix string) {
		for i := range v.NumField() {
			name, f := prefix+v.Type().Field(i).Tag.Get("json"), v.Field(i)
			if f.Kind() == reflect.Struct {
				put(f, name+"_")
				continue
			}
			text := fmt.Sprint(f.Interface())
			if f.Kind() == reflect.Float64 {
				text = strconv.FormatFloat(f.Float(), 'f', -1, 64)
			}
			header, row = append(header, name), append(row, text)
		}
	}
	put(reflect.ValueOf(*p), "")
	return csv.NewWriter(out).WriteAll([][]string{header, row})
}

func (p *loadReport) text(out io.Writer) error {
	tab := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	s := &p.Settings
	what := []string{fmt.Sprintf("%d connections", s.Connections)}
	switch kindOf[s.Kind] {
	case load.Request:
		what = append(what, fmt.Sprintf("%d bytes, %s", s.Size, s.Answer), "closed loop")
		if s.Rate > 0 {
			what[len(what)-1] = fmt.Sprintf("%v messages/s", s.Rate)
		}
	case load.Stream:
		what = append(what, fmt.Sprintf("%d bytes under way on each", s.Size))
	}
	fmt.Fprintf(tab, "target\t%s\n", s.Target)
	fmt.Fprintf(tab, "load\t%s: %s\n", s.Kind, strings.Join(what, ", "))
	if p.TLS.Version != "" {
		facts := []string{p.TLS.Version, p.TLS.Cipher}
		if p.TLS.Group != "" {
			facts = append(facts, p.TLS.Group)
		}
		if p.TLS.ALPN != "" {
			facts = append(facts, "ALPN "+p.TLS.ALPN)
		}
		fmt.Fprintf(tab, "TLS\t%s\n", strings.Join(facts, ", "))
	}
	fmt.Fprintf(tab, "time\t%.2f s\n", p.ElapsedSeconds)
	switch {
	case p.Unit == "connection":
	case p.Unit != "":
		fmt.Fprintf(tab, "%ss\t%d\t%.1f/s\n", p.Unit, p.Units, p.UnitsPerSecond)
	}
	if p.SentBytes+p.ReceivedBytes > 0 {
		fmt.Fprintf(tab, "sent\t%.1f MB\t%.2f MB/s\n", float64(p.SentBytes)/1e6, p.SentPerSecond/1e6)
		fmt.Fprintf(tab, "received\t%.1f MB\t%.2f MB/s\n", float64(p.ReceivedBytes)/1e6, p.ReceivedPerSecond/1e6)
	}
	fmt.Fprintf(tab, "connections\t%d opened\t%d open at the end\n", p.Opened, p.Open)
	if l := &p.Latency; l.Count > 0 {
		name := "latency"
		if p.Unit != "message" {
			name = "handshake time"
		}
		fmt.Fprintf(tab, "%s\tp50 %s\tp90 %s\tp99 %s\tp99.9 %s\tmax %s\tmean %s\n", name,
			inTime(l.P50), inTime(l.P90), inTime(l.P99), inTime(l.P999), inTime(l.Max), inTime(l.Mean))
	}
	if p.Failed == 0 {
		fmt.Fprintf(tab, "failures\tnone\n")
	}
	for i, f := range p.Failures {
		name := "failures"
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(tab, "%s\t%d × %s\tsuch as: %s\n", name, f.Count, f.Name, f.Example)
	}
	if p.Error != "" {
		fmt.Fprintf(tab, "ended early\t%s\n", p.Error)
	}
	return tab.Flush()
}

// inTime writes µs with three digits and a unit.
func inTime(us float64) string {
	d := time.Duration(us * 1e3)
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return fmt.Sprintf("%.3g %s", float64(d)/float64(unit), map[time.Duration]string{
				time.Second: "s", time.Millisecond: "ms", time.Microsecond: "µs"}[unit])
		}
	}
	return fmt.Sprintf("%d ns", d.Nanoseconds())
}
