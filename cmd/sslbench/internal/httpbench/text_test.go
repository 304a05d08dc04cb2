package httpbench

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
)

// fixed is a report of all kinds of lines.
func fixed() *Data {
	point := func(stack string, rounds ...report.Round) report.Point {
		return report.Point{Server: stack, Rounds: rounds}
	}
	return &Data{
		Format: Format, Taken: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Commands: []string{"bin/sslbench http"},
		Machine: report.Machine{CPU: "Some CPU", Cores: 2, Kernel: "Linux 6", OpenSSL: "OpenSSL 3", Go: "go1"},
		Setup:   "TLSv1.3, " + cipherSuite + ", x25519", Procs: 1, Servers: []string{"taskset -c 0 sslbench serve-http"},
		Loads:  []Tool{{Name: wrkName, Version: "wrk 4"}, {Name: h2loadName, Missing: "there is no program h2load"}},
		Rounds: 3, RoundMillis: 750,
		Cases: []Case{
			{ID: "a", Title: "dearer", Load: "wrk https://SERVER/small", Metric: report.CPU, Points: []report.Point{
				point(CryptoTLS, report.Round{CPU: 50, Rate: 20000}, report.Round{CPU: 40, Rate: 20000}, report.Round{CPU: 60, Rate: 10000}),
				point(Sslnet, report.Round{CPU: 75, Rate: 10000}, report.Round{CPU: 50, Rate: 10000}, report.Round{CPU: 120, Rate: 5000}),
			}},
			{ID: "b", Title: "cheaper", Load: clientName, Metric: report.CPU, Points: []report.Point{
				point(CryptoTLS, report.Round{CPU: 1000, Rate: 900}, report.Round{CPU: 1000, Rate: 900}, report.Round{CPU: 1000, Rate: 900}),
				point(Sslnet, report.Round{CPU: 800, Rate: 900}, report.Round{CPU: 900, Rate: 900}, report.Round{CPU: 850, Rate: 900}),
			}},
			{ID: "c", Title: "even", Metric: report.CPU, Points: []report.Point{
				point(CryptoTLS, report.Round{CPU: 10, Rate: 1}, report.Round{CPU: 10, Rate: 1}, report.Round{CPU: 10, Rate: 1}),
				point(Sslnet, report.Round{CPU: 11, Rate: 1}, report.Round{CPU: 9, Rate: 1}, report.Round{CPU: 10, Rate: 1}),
			}},
			{ID: "d", Title: "broken", Metric: report.CPU, Failed: "the server has ended"},
		},
		IdleConns: 2000, IdleRounds: 1, IdleNote: "3000 were asked for.",
		Idle: []Case{
			{ID: "idle-resident", Title: "resident, as it stands", Metric: report.Memory, Points: []report.Point{
				point(CryptoTLS, report.Round{Memory: 40 << 10}), point(Sslnet, report.Round{Memory: 30 << 10})}},
			{ID: "idle-heap", Title: "of that, live Go objects", Metric: report.Memory, Part: true, Points: []report.Point{
				point(CryptoTLS, report.Round{Memory: 12 << 10}), point(Sslnet, report.Round{Memory: -1})}},
		},
	}
}

// TestText is the whole text of a fixed report.
func TestText(t *testing.T) {
	const want = `net/http over crypto/tls and over sslnet, TLSv1.3, TLS_AES_128_GCM_SHA256, x25519, GOMAXPROCS=1
Median of the rounds (lowest–highest). The ratio is sslnet's figure by crypto/tls's, round by round: below 1, sslnet costs less.

µs of the server's CPU time for one request; 3 rounds of 750 ms
           crypto/tls        sslnet            ratio              requests/s    core busy
  dearer   50.0 (40.0–60.0)  75.0 (50.0–120)   1.50 (1.25–2.00)   20000, 10000  80 %, 60 %
  cheaper  1000 (1000–1000)  850 (800–900)     0.85 (0.80–0.90)   900, 900      90 %, 76 %
  even     10.0 (10.0–10.0)  10.0 (9.00–11.0)  1.00 (0.90–1.10)   1.00, 1.00    0 %, 0 %

KiB of memory for one of 2000 idle keep-alive connections, after one request each; 1 round
                            crypto/tls  sslnet  ratio
  resident, as it stands    40.0        30.0    0.75
  of that, live Go objects  12.0        –       –

sslnet costs more than crypto/tls in every round:
  dearer (× 1.50)

sslnet costs less than crypto/tls in every round:
  cheaper (× 0.85)
  memory of an idle connection, resident, as it stands (× 0.75)

The rounds do not agree which of the two costs less:
  even (× 1.00)

failed: broken: the server has ended
h2load was not used: there is no program h2load.
Where the load is Go's own client, it needs more CPU time than the server, so the server waits between requests, and each costs more than under full load.
3000 were asked for.
`
	var b strings.Builder
	must(t, fixed().Text(&b))
	// How wide a column is says nothing.
	got, wanted := strings.Split(b.String(), "\n"), strings.Split(want, "\n")
	for i := range max(len(got), len(wanted)) {
		a, b := "", ""
		if i < len(got) {
			a = strings.Join(strings.Fields(got[i]), " ")
		}
		if i < len(wanted) {
			b = strings.Join(strings.Fields(wanted[i]), " ")
		}
		if a != b {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, a, b)
		}
	}
}

// TestMarkdown: the page has all figures, and how they came about.
func TestMarkdown(t *testing.T) {
	page := string(fixed().Markdown())
	for _, want := range []string{
		"- sslnet costs more than crypto/tls in every round: dearer (× 1.50).\n",
		"- failed: broken: the server has ended\n",
		"| dearer | 50.0 (40.0–60.0) | 75.0 (50.0–120) | 1.50 (1.25–2.00) | 20000, 10000 | 80 %, 60 % |\n",
		"| resident, as it stands | 40.0 | 30.0 | 0.75 |\n",
		"On 2030-01-02, on Some CPU (2 cores, Linux 6), OpenSSL 3, go1.\n",
		"    taskset -c 0 sslbench serve-http\n",
		"- dearer: `wrk https://SERVER/small`\n",
		"- wrk 4\n",
		"    bin/sslbench http\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	if strings.Contains(page, "even:") || strings.Contains(page, "| broken") || strings.Contains(page, "%!") {
		t.Errorf("the page has what it must not have:\n%s", page)
	}
}

// TestJSON: what is written can be read.
func TestJSON(t *testing.T) {
	var b strings.Builder
	must(t, fixed().JSON(&b))
	var got Data
	must(t, json.Unmarshal([]byte(b.String()), &got))
	if !reflect.DeepEqual(&got, fixed()) {
		t.Errorf("got %+v", got)
	}
}

// TestDigits: three significant digits, and all in front of the point.
func TestDigits(t *testing.T) {
	for x, want := range map[float64]string{0.5: "0.500", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234.5: "1234", 0: "0", -3: "-3"} {
		if got := digits(x); got != want {
			t.Errorf("%v: %s, want %s", x, got, want)
		}
	}
}
