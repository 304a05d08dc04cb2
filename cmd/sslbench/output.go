package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spf13/pflag"
)

// loadReport is the JSON output. Its names are stable.
type loadReport struct {
	Settings map[string]string `json:"settings"` // the flags
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
		Settings:       map[string]string{},
		ElapsedSeconds: r.Elapsed.Seconds(), Unit: unitOf(c.Kind), Units: r.Units, UnitsPerSecond: perSecond(r.Units),
		SentBytes: r.Sent, ReceivedBytes: r.Received, SentPerSecond: perSecond(r.Sent), ReceivedPerSecond: perSecond(r.Received),
		Opened: r.Opened, Open: r.Open,
		TLS:      loadFacts{r.Version, r.Cipher, r.Group, r.ALPN},
		Failures: loadFailures{},
	}
	o.flags.VisitAll(func(f *pflag.Flag) { p.Settings[f.Name] = f.Value.String() })
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
	return o.text(out, &p)
}

// csv writes a line of names and one of values. The names are those of the JSON,
// joined by underscores; settings are named by their flags.
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
			if m, ok := f.Interface().(map[string]string); ok {
				for _, key := range slices.Sorted(maps.Keys(m)) {
					header, row = append(header, key), append(row, m[key])
				}
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

func (o *loadOptions) text(out io.Writer, p *loadReport) error {
	tab := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	c := &o.cfg
	what := []string{fmt.Sprintf("%d connections", c.Conns)}
	switch c.Kind {
	case load.Request:
		what = append(what, fmt.Sprintf("%d bytes, %s", c.Size, c.Answer), "closed loop")
		if c.Rate > 0 {
			what[len(what)-1] = fmt.Sprintf("%v messages/s", c.Rate)
		}
	case load.Stream:
		what = append(what, fmt.Sprintf("%d bytes under way on each", c.Size))
	}
	fmt.Fprintf(tab, "target\t%s\n", c.Target)
	fmt.Fprintf(tab, "load\t%s: %s\n", o.kind, strings.Join(what, ", "))
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
	if p.Unit != "" && p.Unit != "connection" {
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
	d, unit := time.Duration(us*1e3), time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
