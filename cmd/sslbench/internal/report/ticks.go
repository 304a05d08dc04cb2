package report

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
)

// linear makes an axis from low to high run between round numbers, and gives its
// ticks: about six, labelled by text.
func linear(low, high float64, text func(v float64, decimals int) string) (from, to float64, ticks plot.ConstantTicks) {
	if high <= low {
		// One value, or none: an axis around it.
		pad := max(math.Abs(low)/2, 1e-9)
		if low == 0 && high == 0 {
			pad = 1
		}
		low, high = low-pad, low+pad
	}
	raw := (high - low) / 6
	pow := math.Pow(10, math.Floor(math.Log10(raw)))
	step, decimals := 10*pow, -int(math.Floor(math.Log10(raw)))-1
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*pow >= raw*(1-1e-9) {
			step, decimals = m*pow, decimals+1
			if m == 2.5 {
				decimals++
			}
			break
		}
	}
	decimals = max(decimals, 0)
	first, last := math.Floor(low/step+1e-9), math.Ceil(high/step-1e-9)
	for i := first; i <= last; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: text(i*step, decimals)})
	}
	return first * step, last * step, ticks
}

// decimal writes a tick of a y axis.
func decimal(v float64, decimals int) string {
	return thousands(strconv.FormatFloat(v, 'f', decimals, 64))
}

// logarithmic is linear for a logarithmic axis; low must be above 0. It labels the
// powers of ten, and 2 and 5 times them where there are few; not each power where there
// are many.
func logarithmic(low, high float64, text func(float64) string) (from, to float64, ticks plot.ConstantTicks) {
	few := high/low < 3000
	from, to = low, high
	start, end := int(math.Floor(math.Log10(low))), int(math.Ceil(math.Log10(high)))
	every := 1 + (end-start)/10
	for exp := start; exp <= end; exp++ {
		for m := range 9 {
			m++
			v := float64(m) * math.Pow(10, float64(exp))
			round := m == 1 || m == 2 || m == 5
			if round && v <= low*(1+1e-9) {
				from = v
			}
			if round && v >= high*(1-1e-9) && to <= high {
				to = v
			}
			t := plot.Tick{Value: v}
			if m == 1 && exp%every == 0 || few && round {
				t.Label = text(v)
			}
			// Between labels that skip powers, only the powers.
			if m == 1 || every == 1 {
				ticks = append(ticks, t)
			}
		}
	}
	if from >= to {
		from, to = from/2, from*2
	}
	return from, to, ticks
}

// measured has a tick at each x that was measured; those that would stand too close
// together on an axis of that width lose their labels.
func measured(a Axis, rows []row, log bool, width vg.Length) plot.ConstantTicks {
	pos := func(x float64) vg.Length {
		low, high := rows[0].x, rows[len(rows)-1].x
		if log {
			x, low, high = math.Log(x), math.Log(low), math.Log(high)
		}
		return vg.Length((x-low)/(high-low)) * width
	}
	var ticks plot.ConstantTicks
	free := vg.Length(math.Inf(-1))
	style := textStyle(tickSize, 0, 0)
	for _, r := range rows {
		t := plot.Tick{Value: r.x, Label: a.tick(r.x)}
		half := style.Width(t.Label)/2 + 3
		if at := pos(r.x); at-half < free {
			t.Label = ""
		} else {
			free = at + half
		}
		ticks = append(ticks, t)
	}
	return ticks
}
