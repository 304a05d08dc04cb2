package main

import (
	"encoding/json"
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

// dashboard is what the test reads of Grafana's model.
type dashboard struct {
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type string
			Definition string
		}
	}
	Panels []panel
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct{ Expr, LegendFormat string }
}

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	selector = regexp.MustCompile(`\{([^}]*)\}`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring) *\(([^)]*)\)`)
	metric   = regexp.MustCompile(`\b(?:sslecho|go|process)_\w+`)
	word     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	chosen   = regexp.MustCompile(`\$\{?(\w+)`)
	legend   = regexp.MustCompile(`\{\{ *(\w+) *\}\}`)
)

// split takes an expression apart: the names of metrics, and those of labels.
func split(expr string) (names, labels []string) {
	expr = quoted.ReplaceAllString(expr, `""`)
	for _, re := range []*regexp.Regexp{selector, grouping} {
		for _, m := range re.FindAllStringSubmatch(expr, -1) {
			labels = append(labels, word.FindAllString(m[1], -1)...)
		}
		expr = re.ReplaceAllString(expr, " ")
	}
	return metric.FindAllString(expr, -1), labels
}

// described calls f with the name and the labels of each metric that c may have:
// what has not occurred yet has no value.
func described(c prometheus.Collector, f func(name string, labels []string)) {
	ch := make(chan *prometheus.Desc, 100)
	c.Describe(ch)
	close(ch)
	for d := range ch {
		m := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([^}]*)\}`).FindStringSubmatch(d.String())
		f(m[1], strings.Split(m[2], ","))
	}
}

// shownLabels has the labels of each metric that is described, with those that Prometheus adds.
func shownLabels(t *testing.T) map[string]map[string]bool {
	t.Helper()
	srv := prommetrics.New("sslecho", &reactor.Server{})
	a := newTestAdmin(srv)
	a.show(everything())
	known := map[string]map[string]bool{}
	add := func(name string, labels ...string) {
		if known[name] == nil {
			known[name] = map[string]bool{"instance": true, "job": true, "le": true}
		}
		for _, l := range labels {
			known[name][l] = true
		}
	}
	for _, line := range scrape(t, a, "") {
		if !strings.HasPrefix(line, "#") {
			name, rest, _ := strings.Cut(line[:strings.LastIndexByte(line, ' ')], "{")
			add(name, word.FindAllString(quoted.ReplaceAllString(rest, ""), -1)...)
		}
	}
	described(srv, func(name string, labels []string) { add(name, labels...) })
	return known
}

// TestDashboard: the dashboard shows only metrics and labels that exist, and its panels have places of their own.
func TestDashboard(t *testing.T) {
	b := tlstest.Value(os.ReadFile("../../docs/grafana/sslecho.json"))(t)
	var d dashboard
	tlstest.Must(t, json.Unmarshal(b, &d))
	tlstest.Equal(t, "schemaVersion", d.SchemaVersion, 39)
	known := shownLabels(t)
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if v.Type == "query" && v.Definition != "label_values(sslecho_build_info, instance)" {
			t.Errorf("the variable %s is %q", v.Name, v.Definition)
		}
	}
	if !variables["datasource"] || !variables["instance"] {
		t.Errorf("the variables are %v", variables)
	}
	for _, m := range chosen.FindAllStringSubmatch(string(b), -1) {
		if !variables[m[1]] && m[1] != "__all" { // the value of a choice
			t.Errorf("$%s is no variable", m[1])
		}
	}

	ids := map[int]string{}
	places := map[[2]int]string{}
	for _, p := range d.Panels {
		if other, ok := ids[p.ID]; ok || p.ID <= 0 || p.Title == "" {
			t.Errorf("panel %q has id %d, as has %q", p.Title, p.ID, other)
		}
		ids[p.ID] = p.Title
		g := p.GridPos
		if g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
			t.Errorf("panel %q is at %+v", p.Title, g)
			continue
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := places[[2]int{x, y}]; ok {
					t.Fatalf("panel %q lies over %q", p.Title, other)
				}
				places[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q has source %q and %d targets", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, target := range p.Targets {
			names, labels := split(target.Expr)
			if len(names) == 0 || strings.Count(target.Expr, `instance=~"$instance"`) != len(names) {
				t.Errorf("panel %q: %s: each metric must be of the chosen instances", p.Title, target.Expr)
			}
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				labels = append(labels, m[1])
			}
			has := map[string]bool{}
			for _, n := range names {
				if known[n] == nil {
					t.Errorf("panel %q: no metric is called %s", p.Title, n)
				}
				for l := range known[n] {
					has[l] = true
				}
			}
			for _, l := range labels {
				if !has[l] {
					t.Errorf("panel %q: %s has no label %s", p.Title, target.Expr, l)
				}
			}
		}
	}
}

// metricNames are those of all metrics of our own.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	a := newTestAdmin()
	a.show(everything())
	for _, line := range scrape(t, a, "# TYPE sslecho_") {
		names[strings.Fields(line)[2]] = true
	}
	described(prommetrics.New("sslecho", &reactor.Server{}), func(name string, _ []string) { names[name] = true })
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
	ours := regexp.MustCompile("(systemctl|swaks|curl|mysql|mariadb) [^`\n]*").ReplaceAllString(page, "") // have flags of their own
	for _, flag := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(ours, -1) {
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
