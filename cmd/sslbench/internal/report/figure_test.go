package report

import (
	"math"
	"testing"
)

func TestDigits(t *testing.T) {
	for _, c := range []struct {
		v    float64
		want string
	}{
		{0, "0"}, {1, "1.00"}, {12.34, "12.3"}, {123.4, "123"}, {1234, "1230"}, {12345, "12,300"},
		{1234567, "1,230,000"}, {0.0123, "0.0123"}, {9.999, "10.0"}, {99.96, "100"}, {0.9996, "1.00"},
		{999.6, "1000"}, {1000, "1000"}, {-12.34, "-12.3"}, {1e-9, "1.00e-09"},
	} {
		if got := digits(c.v); got != c.want {
			t.Errorf("digits(%v) = %q, want %q", c.v, got, c.want)
		}
	}
}

func TestAxisText(t *testing.T) {
	for _, c := range []struct {
		axis       Axis
		x          float64
		text, tick string
	}{
		{Axis{Bytes: true}, 64, "64", "64"},
		{Axis{Bytes: true}, 1024, "1 KiB", "1 KiB"},
		{Axis{Bytes: true}, 1536, "1.5 KiB", "1.5 KiB"},
		{Axis{Bytes: true}, 16 << 10, "16 KiB", "16 KiB"},
		{Axis{Bytes: true}, 1 << 20, "1 MiB", "1 MiB"},
		{Axis{Bytes: true}, 16000, "16,000", "16,000"},
		{Axis{}, 1, "1", "1"},
		{Axis{}, 0.25, "0.25", "0.25"},
		{Axis{}, 1000, "1000", "1k"},
		{Axis{}, 12500, "12,500", "12.5k"},
		{Axis{}, 2e6, "2,000,000", "2M"},
		{Axis{}, 2e12, "2,000,000,000,000", "2e+12"},
	} {
		if got := c.axis.text(c.x); got != c.text {
			t.Errorf("text of %v: %q, want %q", c.x, got, c.text)
		}
		if got := c.axis.tick(c.x); got != c.tick {
			t.Errorf("tick of %v: %q, want %q", c.x, got, c.tick)
		}
	}
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		metric Metric
		values []float64
		unit   string
	}{
		{CPU, []float64{3, 5000}, "µs"}, {CPU, []float64{1500, 5000}, "ms"}, {CPU, []float64{2e6}, "s"},
		{CPU, []float64{0.2}, "ns"}, {CPU, nil, "µs"}, {Rate, []float64{1e6}, "echo/s"},
		{Memory, []float64{5 << 20, 2 << 30}, "MiB"}, {Memory, []float64{2 << 30}, "GiB"}, {Peak, []float64{9 << 10}, "KiB"}, {Memory, nil, "MiB"},
	} {
		if got := figures[c.metric].scaleFor("echo", c.values); got.unit != c.unit {
			t.Errorf("%s of %v in %s, want %s", c.metric, c.values, got.unit, c.unit)
		}
	}
}

// An axis holds what it was made for, and has labels, but not a crowd of them.
func TestTicks(t *testing.T) {
	for _, r := range [][2]float64{
		{0, 1}, {0, 7.3}, {0.93, 1.21}, {0, 1e9}, {0, 0}, {5, 5}, {0, 1e-7}, {0, 1999.7}, {0.95, 1.05},
		{1, 10}, {2.1, 830}, {1, 1e9}, {3, 3}, {0.0002, 11}, {1, 1}, {999, 1001}, {1e-12, 1e18}, {3e-7, 2e4},
	} {
		check := func(kind string, from, to float64, labels int) {
			if from > r[0]*(1+1e-9) || to < r[1]*(1-1e-9) || from >= to || math.IsNaN(from+to) {
				t.Errorf("%s axis for %v: from %v to %v", kind, r, from, to)
			}
			if labels < 2 || labels > 16 {
				t.Errorf("%s axis for %v: %d labels", kind, r, labels)
			}
		}
		from, to, ticks := linear(r[0], r[1], decimal)
		seen := map[string]bool{}
		for _, tick := range ticks {
			seen[tick.Label] = true
		}
		check("linear", from, to, len(seen))
		if len(seen) != len(ticks) {
			t.Errorf("linear axis for %v: labels that are the same: %v", r, ticks)
		}
		if r[0] == 0 {
			continue
		}
		from, to, ticks = logarithmic(r[0], r[1], digitsShort)
		seen = map[string]bool{}
		for _, tick := range ticks {
			if tick.Label != "" && tick.Value >= from && tick.Value <= to {
				seen[tick.Label] = true
			}
		}
		check("logarithmic", from, to, len(seen))
	}
}

// Labels that would run into each other are left out.
func TestMeasuredTicks(t *testing.T) {
	rows := []row{{1, ""}, {1000, ""}, {1001, ""}, {1e6, ""}}
	ticks := measured(Axis{Log: true}, rows, true, 300)
	for i, want := range []string{"1", "1k", "", "1M"} {
		if ticks[i].Label != want || ticks[i].Value != rows[i].x {
			t.Errorf("tick %d: %+v, want %q at %v", i, ticks[i], want, rows[i].x)
		}
	}
}
