package report

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestReadErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "not JSON"},
		{"not JSON", "{\n \"format\": 1,\n oops", "not JSON (line 3"},
		{"NaN", "{\"format\": 1, \"experiments\": [{\"points\": [{\"x\": NaN}]}]}", "not JSON"},
		{"cut off", `{"format": 1, "servers": [`, "not JSON"},
		{"another kind", `[1, 2]`, "not the data of sslbench compare"},
		{"another object", `{"a": 1}`, `no "format"`},
		{"a later format", `{"format": 2, "whatever": 1}`, "format 2, but this sslbench reads and writes format 1"},
		{"an unknown field", `{"format": 1, "surprise": 1}`, `unknown field "surprise"`},
		{"a wrong type", `{"format": 1, "servers": "all"}`, "not the data"},
		{"too large", `{"format": 1, "primitives": [{"name": "a", "seconds": 1e999}]}`, "not the data"},
		{"more behind it", `{"format": 1} {}`, "not JSON"},
		{"an unknown server", `{"format": 1, "baseline": "x"}`, `the baseline "x" is not among the servers`},
	} {
		file := filepath.Join(t.TempDir(), "data.json")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Read(file)
		if err == nil || d != nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.json")); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestCheck(t *testing.T) {
	if err := sample().Check(); err != nil {
		t.Fatal(err)
	}
	if err := (&Data{Format: Format}).Check(); err != nil {
		t.Errorf("empty data: %v", err)
	}
	for _, c := range []struct {
		name  string
		spoil func(*Data)
		want  string
	}{
		{"format", func(d *Data) { d.Format = 0 }, "format 0"},
		{"rounds", func(d *Data) { d.RoundsEach = -1 }, "-1 rounds of 500 ms"},
		{"length of a round", func(d *Data) { d.RoundMillis = -5 }, "5 rounds of -5 ms"},
		{"server twice", func(d *Data) { d.Servers[1].Name = d.Servers[0].Name }, `server "sslecho" is there twice`},
		{"server without a name", func(d *Data) { d.Servers[8].Name = " " }, "server 9: its name is empty"},
		{"control character", func(d *Data) { d.Servers[8].Name = "a\x1b[m" }, "cannot be printed"},
		{"not UTF-8", func(d *Data) { d.Experiments[0].Title = "a\xff" }, "cannot be printed"},
		{"baseline", func(d *Data) { d.Baseline = "x" }, `the baseline "x"`},
		{"subject", func(d *Data) { d.Subject = "x" }, `the subject "x"`},
		{"baseline of an experiment", func(d *Data) { d.Experiments[0].Baseline = "x" }, `experiment "size": the baseline "x"`},
		{"experiment twice", func(d *Data) { d.Experiments[1].ID = "size" }, `experiment "size" is there twice`},
		{"id is no file name", func(d *Data) { d.Experiments[0].ID = "../size" }, "the id must be"},
		{"metric", func(d *Data) { d.Experiments[0].Metric = "x" }, `unknown metric "x"`},
		{"unit", func(d *Data) { d.Experiments[0].Unit = "" }, "its unit is empty"},
		{"axis", func(d *Data) { d.Experiments[0].X.Label = "" }, "the label of the x axis is empty"},
		{"unknown server", func(d *Data) { d.Experiments[0].Points[0].Server = "x" }, `server "x" at x = 64: no such server`},
		{"unknown failed server", func(d *Data) { d.Experiments[2].Failed[0].Server = "x" }, `failed server "x": no such server`},
		{"no rounds", func(d *Data) { d.Experiments[0].Points[0].Rounds = nil }, `server "sslecho" at x = 64: no rounds`},
		{"NaN", func(d *Data) { d.Experiments[0].Points[0].Rounds[1].P99 = math.NaN() }, "round 2: p99 is NaN"},
		{"infinite", func(d *Data) { d.Experiments[0].Points[0].Rounds[1].CPU = math.Inf(1) }, "round 2: cpu is +Inf"},
		{"negative", func(d *Data) { d.Experiments[0].Points[0].Rounds[0].Memory = -1 }, "round 1: memory is -1"},
		{"too large", func(d *Data) { d.Experiments[0].Points[0].Rounds[0].Rate = 1e19 }, "round 1: rate is 1e+19"},
		{"too small", func(d *Data) { d.Experiments[0].Points[0].Rounds[0].Rate = 1e-13 }, "round 1: rate is 1e-13"},
		{"x is too large", func(d *Data) { d.Experiments[0].Points[0].X = 1e19 }, "x is 1e+19"},
		{"x is NaN", func(d *Data) { d.Experiments[0].Points[0].X = math.NaN() }, "x is NaN"},
		{"failed x is infinite", func(d *Data) { d.Experiments[2].Failed[0].X = math.Inf(1) }, "x is +Inf"},
		{"point twice", func(d *Data) { d.Experiments[0].Points[1].X = 64 }, "more than one such point"},
		{"category without a label", func(d *Data) { d.Experiments[4].Points[0].Label = "" }, "the label of its category is empty"},
		{"category with two labels", func(d *Data) { d.Experiments[4].Points[0].Label = "x" }, "is labelled"},
		{"measured and calculated", func(d *Data) { d.Experiments[0].Points[0].Calculated = true }, "both measured and calculated"},
		{"primitive", func(d *Data) { d.Primitives[0].Seconds = math.NaN() }, "seconds is NaN"},
	} {
		d := sample()
		c.spoil(d)
		dir := t.TempDir()
		for what, err := range map[string]error{"Check": d.Check(), "Write": d.Write(dir), "Text": d.Text(&strings.Builder{})} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v; want %q", c.name, what, err, c.want)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: Write refused, and left %v", c.name, left)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	want := sample()
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(filepath.Join(dir, "data.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("what was read is not what was written")
	}
}
