package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spacemonad/go-openssl/adapters/prommetrics"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// metricNames are those of all metrics of our own.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	a := newTestAdmin()
	a.show(everything())
	for _, line := range scrape(t, a, "# TYPE sslecho_") {
		names[strings.Fields(line)[2]] = true
	}
	ch := make(chan *prometheus.Desc, 100)
	prommetrics.New("sslecho", &reactor.Server{}).Describe(ch) // what has not occurred yet has no value
	close(ch)
	for d := range ch {
		names[regexp.MustCompile(`fqName: "(.*?)"`).FindStringSubmatch(d.String())[1]] = true
	}
	return names
}

// TestOperatorsPage: docs/operate/sslecho.md has the flags as --help prints them.
// It names each flag and each metric of our own, and none that does not exist.
func TestOperatorsPage(t *testing.T) {
	const file = "../../docs/operate/sslecho.md"
	b := tlstest.Value(os.ReadFile(file))(t)
	page := string(b)
	_, flags, _ := strings.Cut(page, "```text\n")
	flags, _, _ = strings.Cut(flags, "```")
	if !strings.HasPrefix(flags, "Listening:") || !strings.HasSuffix(config.Help(), flags) {
		t.Errorf("the flags in %s are not those of --help:\n%s", file, config.Help())
	}
	for _, flag := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(page, -1) {
		if !strings.Contains(config.Help(), flag) {
			t.Errorf("%s tells of %s, which does not exist", file, flag)
		}
	}
	told := map[string]bool{}
	for _, name := range regexp.MustCompile(`sslecho_[a-z_]*[a-z]`).FindAllString(page, -1) {
		told[name] = true
	}
	if want := metricNames(t); !maps.Equal(told, want) {
		t.Errorf("%s tells of the metrics\n%q\nwant\n%q", file, slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(want)))
	}
}
