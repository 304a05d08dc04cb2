package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Read takes the data.json of an earlier run and checks it as Check does.
func Read(file string) (*Data, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d, err := decode(text)
	if err == nil {
		err = d.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

func decode(text []byte) (*Data, error) {
	var head struct {
		Format *int `json:"format"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line := 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
			return nil, fmt.Errorf("not JSON (line %d: %w)", line, err)
		}
		return nil, fmt.Errorf("not the data of sslbench compare: %w", err)
	}
	switch {
	case head.Format == nil:
		return nil, errors.New(`not the data of sslbench compare: there is no "format" in it`)
	case *head.Format != Format:
		return nil, wrongFormat(*head.Format)
	}
	// A field that this version does not know would be lost when it is rendered.
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	d := new(Data)
	if err := dec.Decode(d); err != nil {
		return nil, fmt.Errorf("not the data of sslbench compare: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("not the data of sslbench compare: something follows the data")
	}
	return d, nil
}

func wrongFormat(n int) error {
	return fmt.Errorf("format %d, but this sslbench reads and writes format %d: use the version that made it, or measure again", n, Format)
}

var idPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Check says whether the data fits together: names that are known and unique, at
// least one round for each point, no figure that is negative, out of all range or no
// number. Everything that is wrong is in the error, one line each.
func (d *Data) Check() error {
	c := &checker{}
	if d.Format != Format {
		c.errs = append(c.errs, wrongFormat(d.Format))
	}
	known := map[string]bool{}
	for i, s := range d.Servers {
		c.name(fmt.Sprintf("server %d: its name", i+1), s.Name)
		if known[s.Name] {
			c.add("server %q is there twice", s.Name)
		}
		known[s.Name] = true
	}
	for what, name := range map[string]string{"baseline": d.Baseline, "subject": d.Subject} {
		if name != "" && !known[name] {
			c.add("the %s %q is not among the servers", what, name)
		}
	}
	if d.RoundMillis < 0 || d.RoundsEach < 0 {
		c.add("%d rounds of %d ms: neither may be negative", d.RoundsEach, d.RoundMillis)
	}
	ids := map[string]bool{}
	for i := range d.Experiments {
		e := &d.Experiments[i]
		if ids[e.ID] {
			c.add("experiment %q is there twice", e.ID)
		}
		ids[e.ID] = true
		c.experiment(e, known)
	}
	for _, p := range d.Primitives {
		c.name("a primitive's name", p.Name)
		c.figure(fmt.Sprintf("primitive %q: seconds", p.Name), p.Seconds)
	}
	// The two names above come out of a map.
	slices.SortStableFunc(c.errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(c.errs...)
}

type checker struct{ errs []error }

func (c *checker) add(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// name refuses what cannot stand in a heading or in XML.
func (c *checker) name(what, s string) {
	if strings.TrimSpace(s) == "" {
		c.add("%s is empty", what)
	} else if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		c.add("%s (%q) has characters that cannot be printed", what, s)
	}
}

// Figures beyond these are no measurements, whatever their unit; the limits keep sums and ratios finite.
const (
	smallest = 1e-12
	largest  = 1e18
)

func (c *checker) figure(what string, v float64) {
	if math.IsNaN(v) || v < 0 || v > largest || v > 0 && v < smallest {
		c.add("%s is %v; it must be 0 (not measured) or a number from %v to %v", what, v, smallest, largest)
	}
}

func (c *checker) experiment(e *Experiment, known map[string]bool) {
	in := fmt.Sprintf("experiment %q", e.ID)
	if !idPattern.MatchString(e.ID) {
		c.add("%s: the id must be small letters, digits and single hyphens, since files are named by it", in)
	}
	c.name(in+": its title", e.Title)
	c.name(in+": its unit", e.Unit)
	c.name(in+": the label of the x axis", e.X.Label)
	if _, ok := figures[e.Metric]; !ok {
		c.add("%s: unknown metric %q", in, e.Metric)
	}
	if e.Baseline != "" && !known[e.Baseline] {
		c.add("%s: the baseline %q is not among the servers", in, e.Baseline)
	}
	type key struct {
		server string
		x      float64
	}
	seen := map[key]bool{}
	calculated := map[string]bool{}
	labels := map[float64]string{}
	label := func(at string, x float64, label string) {
		if math.IsNaN(x) || math.Abs(x) > largest || x != 0 && math.Abs(x) < smallest {
			c.add("%s: x is %v, which is no number or out of range", at, x)
		}
		if !e.X.Categories {
			return
		}
		c.name(at+": the label of its category", label)
		if was, ok := labels[x]; ok && was != label {
			c.add("%s: x = %v is labelled %q and %q", in, x, was, label)
		}
		labels[x] = label
	}
	for i := range e.Points {
		p := &e.Points[i]
		at := fmt.Sprintf("%s, server %q at x = %v", in, p.Server, p.X)
		if p.Calculated {
			c.name(at+": its name", p.Server)
		} else if !known[p.Server] {
			c.add("%s: no such server", at)
		}
		if was, again := calculated[p.Server]; again && was != p.Calculated {
			c.add("%s: %q is both measured and calculated", in, p.Server)
		}
		calculated[p.Server] = p.Calculated
		label(at, p.X, p.Label)
		if k := (key{p.Server, p.X}); seen[k] {
			c.add("%s: there is more than one such point", at)
		} else {
			seen[k] = true
		}
		if len(p.Rounds) == 0 {
			c.add("%s: no rounds; what was not measured belongs under failed, or is left out", at)
		}
		for n, r := range p.Rounds {
			for _, f := range allFigures {
				c.figure(fmt.Sprintf("%s, round %d: %s", at, n+1, f.id), f.get(r))
			}
		}
	}
	for _, f := range e.Failed {
		at := fmt.Sprintf("%s, failed server %q", in, f.Server)
		if !known[f.Server] {
			c.add("%s: no such server", at)
		}
		if !f.All {
			label(at, f.X, f.Label)
		}
	}
}
