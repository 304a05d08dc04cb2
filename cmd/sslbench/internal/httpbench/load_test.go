package httpbench

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// TestJudge: what the programs print at the end is understood.
func TestJudge(t *testing.T) {
	const h2 = "\nrequests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 9 2xx, 0 3xx, 0 4xx, 0 5xx\n"
	for _, test := range []struct {
		judge     func(string) error
		out, says string // says: nothing for no error
	}{
		{judgeWrk, "Running\nsslbench 12 0 0 0 0 0\n", ""},
		{judgeWrk, "Running\nsslbench 0 0 0 0 0 0\n", "not one request"},
		{judgeWrk, "Running\nsslbench 12 1 2 0 3 4\n", "1 connects failed, 2 reads failed, 3 answers had another status than 200, 4 answers were late"},
		{judgeWrk, "Segmentation fault\n", "does not say"},
		{judgeH2load, h2, ""},
		{judgeH2load, strings.Replace(h2, "9 succeeded", "0 succeeded", 1), "not one request"},
		{judgeH2load, strings.Replace(h2, "0 failed, 0 errored", "2 failed, 3 errored", 1), "2 requests failed, 3 requests had an error"},
		{judgeH2load, strings.Replace(h2, "0 4xx", "7 4xx", 1), "7 answers were 4xx"},
		{judgeH2load, "", "does not say"},
	} {
		if err := test.judge(test.out); test.says != "" {
			wantError(t, err, test.says)
		} else if err != nil {
			t.Errorf("%q: %v", test.out, err)
		}
	}
}

// TestMissing: programs that are not there are named, with what to install, and the load is what is left.
func TestMissing(t *testing.T) {
	loads, tools, err := findTools(noPrograms(t), t.TempDir())
	must(t, err)
	if len(loads) != 0 || len(tools) != 2 || !strings.Contains(tools[0].Missing, "apt-get install wrk") ||
		!strings.Contains(tools[1].Missing, "apt-get install nghttp2-client") {
		t.Errorf("%v, %+v", loads, tools)
	}
	wrk, h2load, own := &wrk{}, &h2load{}, &client{}
	for _, test := range []struct {
		loads            map[string]loader
		h1, close, other loader
	}{
		{nil, own, own, own},
		{map[string]loader{wrkName: wrk}, wrk, wrk, own},
		{map[string]loader{h2loadName: h2load}, h2load, own, h2load},
		{map[string]loader{wrkName: wrk, h2loadName: h2load}, wrk, wrk, h2load},
	} {
		r := &runner{loads: test.loads, client: own}
		for j, want := range map[Job]loader{{}: test.h1, {Close: true}: test.close, {H2: true}: test.other} {
			if got := r.loaderFor(j); got != want {
				t.Errorf("with %v, %+v is done by %T, want %T", test.loads, j, got, want)
			}
		}
	}
}

// TestPrograms: wrk and h2load, where they are installed, do each kind of work with each stack, and say what fails.
func TestPrograms(t *testing.T) {
	r := newTestRunner(t, tiny)
	loads, _, err := findTools(server.Options{}, r.dir)
	must(t, err)
	for _, stack := range stacks {
		c := started(t, r, stack)
		for _, name := range []string{wrkName, h2loadName} {
			l := loads[name]
			if l == nil {
				t.Logf("%s is not installed", name)
				continue
			}
			for _, j := range []Job{{Conns: 2, Streams: 1}, {Conns: 2, Streams: 1, Close: true, Resume: true}, {Conns: 2, Streams: 2, H2: true}} {
				if !l.can(j) {
					continue
				}
				j.URL = c.url + "/small"
				var out Case
				m, err := r.round(limited(t), l, j, 20*time.Millisecond, c, &out)
				if err != nil || m.CPU <= 0 || m.Rate <= 0 || !strings.HasPrefix(out.Load, name+" --threads") ||
					!strings.HasSuffix(out.Load, " https://SERVER/small") {
					t.Errorf("%s, %s, %+v: %+v, %v, %q", stack, name, j, m, err, out.Load)
				}
			}
		}
	}
	asked := make(chan struct{}, 1)
	refuses := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		select {
		case asked <- struct{}{}:
		default:
		}
	}))
	refuses.Config.ErrorLog = log.New(io.Discard, "", 0) // wrk cuts handshakes off
	refuses.StartTLS()
	defer refuses.Close()
	for name, l := range loads {
		run, _, err := l.start(limited(t), Job{URL: refuses.URL + "/", Conns: 1, Streams: 1}, time.Second)
		must(t, err)
		<-asked
		<-asked
		<-asked // one may be left from the load before, so this is at least the second request, and the first one has its answer
		wantError(t, run.stop(), name+":", "answers")
	}
}

// TestBadProgram: one that fails is quoted.
func TestBadProgram(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{wrkName, h2loadName} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho out of order\nexit 3\n"), 0o700))
	}
	loads, tools, err := findTools(server.Options{Path: dir}, dir)
	must(t, err)
	if len(tools) != 2 || tools[0].Version != "out of order" {
		t.Errorf("%+v", tools)
	}
	for name, l := range loads {
		run, _, err := l.start(limited(t), Job{URL: "https://127.0.0.1:1/small", Conns: 1, Streams: 1}, time.Second)
		must(t, err)
		<-run.done()
		wantError(t, run.stop(), name, "exit status 3", "out of order")
	}
}
