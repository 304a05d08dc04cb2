package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spf13/pflag"
)

// loadReport is the JSON output. Its names are stable.
type loadReport struct {
	Settings map[string]string `json:"settings"` // the flags
	// Error says why the run ended early, or is empty.
	Error             string        `json:"error"`
	ElapsedSeconds    float64       `json:"elapsed_seconds"`
	Unit              string        `json:"unit"` // of units: "message", "handshake", "connection", or "" for streams
	Units             uint64        `json:"units"`
	UnitsPerSecond    float64       `json:"units_per_second"`
	SentBytes         uint64        `json:"sent_bytes"`
	ReceivedBytes     uint64        `json:"received_bytes"`
	SentPerSecond     float64       `json:"sent_bytes_per_second"`
	ReceivedPerSecond float64       `json:"received_bytes_per_second"`
	Opened            uint64        `json:"connections_opened"`
	Open              int           `json:"connections_open"`
	Latency           loadLatency   `json:"latency_us"`
	TLS               load.Facts    `json:"tls"`
	Failed            uint64        `json:"failed"`
	Failures          []loadFailure `json:"failures"`
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

type loadFailure struct {
	Name    load.Failure `json:"name"`
	Count   uint64       `json:"count"`
	Example string       `json:"example"`
}

// unitOf is what a kind's units are.
var unitOf = map[load.Kind]string{
	load.Handshake: "handshake", load.Resume: "handshake", load.Request: "message", load.Idle: "connection",
}

func (o *loadOptions) report(r load.Result, err error) loadReport {
	perSecond := func(n uint64) float64 {
		if r.Elapsed <= 0 {
			return 0
		}
		return float64(n) / r.Elapsed.Seconds()
	}
	p := loadReport{
		Settings:       map[string]string{},
		ElapsedSeconds: r.Elapsed.Seconds(), Unit: unitOf[o.cfg.Kind], Units: r.Units, UnitsPerSecond: perSecond(r.Units),
		SentBytes: r.Sent, ReceivedBytes: r.Received, SentPerSecond: perSecond(r.Sent), ReceivedPerSecond: perSecond(r.Received),
		Opened: r.Opened, Open: r.Open, TLS: r.Facts, Failures: []loadFailure{},
	}
	o.flags.VisitAll(func(f *pflag.Flag) { p.Settings[f.Name] = f.Value.String() })
	if h := r.Latency; h.TotalCount() > 0 {
		us := func(ns int64) float64 { return float64(ns) / 1e3 }
		at := func(percentile float64) float64 { return us(h.ValueAtPercentile(percentile)) }
		p.Latency = loadLatency{h.TotalCount(), us(h.Min()), h.Mean() / 1e3, at(50), at(90), at(99), at(99.9), us(h.Max())}
	}
	if o.cfg.Kind == load.Idle {
		p.UnitsPerSecond = 0 // they were opened before the time that was measured
	}
	if err != nil {
		p.Error = err.Error()
	}
	for _, what := range load.ByCount(r.Failures) {
		p.Failed += r.Failures[what]
		p.Failures = append(p.Failures, loadFailure{what, r.Failures[what], r.Examples[what]})
	}
	return p
}

// write gives the result in the format that was asked for.
func (o *loadOptions) write(out io.Writer, r load.Result, err error) error {
	p := o.report(r, err)
	if o.format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(p)
	}
	tab := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(tab, format+"\n", args...) }
	c := &o.cfg
	what := fmt.Sprintf("%d connections", c.Conns)
	switch {
	case c.Kind == load.Stream:
		what += fmt.Sprintf(", %d bytes under way on each", c.Size)
	case c.Rate > 0:
		what += fmt.Sprintf(", %d bytes, %s, %v messages/s", c.Size, c.Answer, c.Rate)
	case c.Kind == load.Request:
		what += fmt.Sprintf(", %d bytes, %s, closed loop", c.Size, c.Answer)
	}
	line("target\t%s", c.Target)
	line("load\t%s: %s", c.Kind, what)
	if p.TLS.Version != "" {
		facts := p.TLS.Version + ", " + p.TLS.Cipher
		if p.TLS.Group != "" {
			facts += ", " + p.TLS.Group
		}
		if p.TLS.ALPN != "" {
			facts += ", ALPN " + p.TLS.ALPN
		}
		line("TLS\t%s", facts)
	}
	line("time\t%.2f s", p.ElapsedSeconds)
	if p.Unit != "" && p.Unit != "connection" {
		line("%ss\t%d\t%.1f/s", p.Unit, p.Units, p.UnitsPerSecond)
	}
	if p.SentBytes+p.ReceivedBytes > 0 {
		line("sent\t%.1f MB\t%.2f MB/s", float64(p.SentBytes)/1e6, p.SentPerSecond/1e6)
		line("received\t%.1f MB\t%.2f MB/s", float64(p.ReceivedBytes)/1e6, p.ReceivedPerSecond/1e6)
	}
	line("connections\t%d opened\t%d open at the end", p.Opened, p.Open)
	if l := &p.Latency; l.Count > 0 {
		name := "latency"
		if p.Unit != "message" {
			name = "handshake time"
		}
		line("%s\tp50 %s\tp90 %s\tp99 %s\tp99.9 %s\tmax %s\tmean %s", name,
			inTime(l.P50), inTime(l.P90), inTime(l.P99), inTime(l.P999), inTime(l.Max), inTime(l.Mean))
	}
	name := "failures"
	if p.Failed == 0 {
		line("failures\tnone")
	}
	for _, f := range p.Failures {
		line("%s\t%d × %s\tsuch as: %s", name, f.Count, f.Name, strings.ReplaceAll(f.Example, "\n", " "))
		name = ""
	}
	if p.Error != "" {
		line("ended early\t%s", p.Error)
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

// loadProgress shows on a terminal how far a Load has come.
type loadProgress struct {
	load *load.Load
	out  io.Writer // nil: nothing is shown
	end  func()    // takes the bar away, if there is one
}

// begin shows a bar for d, or a mark that turns if d is negative, until the next
// begin or close.
func (p *loadProgress) begin(what string, d time.Duration) {
	p.close()
	if p.out == nil {
		return
	}
	ticks := d.Milliseconds()
	b := progressbar.NewOptions64(ticks, progressbar.OptionSetWriter(p.out), progressbar.OptionSetWidth(20),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(ticks > 0), progressbar.OptionSetElapsedTime(true))
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		start, last, lastAt := time.Now(), p.load.Progress(), time.Now()
		for {
			select {
			case <-stop:
				_ = b.Finish()
				return
			case now := <-ticker.C:
				s := p.load.Progress()
				// Not up to its end, at which the bar would take itself for finished.
				_ = b.Set64(min(now.Sub(start).Milliseconds(), max(ticks-1, 0)))
				b.Describe(what + " " + describe(s, last, now.Sub(lastAt)))
				last, lastAt = s, now
			}
		}
	})
	p.end = func() {
		close(stop)
		done.Wait()
	}
}

// describe is the present rate, and what failed so far.
func describe(now, last load.Progress, d time.Duration) string {
	rate := func(now, last uint64) float64 { return float64(now-last) / max(d.Seconds(), 1e-3) }
	return fmt.Sprintf("%.0f/s, %.1f MB/s, %d open, %d failed", rate(now.Units, last.Units),
		rate(now.Sent+now.Received, last.Sent+last.Received)/1e6, now.Open, now.Failures)
}

// close takes the bar away.
func (p *loadProgress) close() {
	if p.end != nil {
		p.end()
		p.end = nil
	}
}
