package report

import (
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes in points.
const (
	plotWidth  vg.Length = 480
	plotHeight vg.Length = 300
	titleSize  vg.Length = 12
	labelSize  vg.Length = 10
	tickSize   vg.Length = 9
)

// value is one figure with its spread, in the unit that is shown.
type value struct {
	ok             bool
	mid, low, high float64
}

// series is one server's line, or its bars: a value for each row.
type series struct {
	column
	values []value
	bold   bool
}

// chart is one plot before it is drawn.
type chart struct {
	file, title string
	what        string // the title, without what tells the experiment's plots apart
	xLabel      string
	yLabel      string
	axis        Axis
	rows        []row
	series      []series
	ratio       bool
	neverLog    bool
	failed      func(server string, x float64) bool
}

// plots draws what an experiment shows; nothing where nothing was measured.
func (d *Data) plots(e *Experiment) ([]picture, error) {
	var charts []chart
	for _, f := range e.mainFigures() {
		sc := f.scaleFor(e.Unit, e.medians(f))
		c := d.chart(e, f, func(p *Point) value {
			s := p.Summary(f.id)
			return value{s.N > 0, sc.of(s.Median), sc.of(s.Min), sc.of(s.Max)}
		})
		c.file = e.ID
		if len(e.mainFigures()) > 1 {
			c.file += "-" + string(f.id)
			c.title += ": " + f.name
		}
		c.yLabel = upper(f.label(e.Unit, sc.unit))
		c.neverLog = f.kind == octets
		charts = append(charts, c)
	}
	if base := d.Base(e); base != "" && (e.Metric == CPU || e.Metric == Rate) {
		f := figures[e.Metric]
		c := d.chart(e, f, func(p *Point) value {
			q := p.Ratio(e.Point(base, p.X), f.id)
			return value{q.OK, q.Median, q.Min, q.Max}
		})
		c.file = e.ID + "-ratio"
		c.title += ": ratio"
		c.yLabel = upper(f.ratioLabel(e.Unit, base))
		c.ratio = true
		// The baseline alone would be a line at 1.
		if slices.ContainsFunc(c.series, func(s series) bool { return s.name != base }) {
			charts = append(charts, c)
		}
	}
	var out []picture
	for _, c := range charts {
		if len(c.series) == 0 {
			continue
		}
		svg, err := c.draw()
		if err != nil {
			return nil, err
		}
		out = append(out, picture{File: c.file + ".svg", Alt: c.alt(), SVG: svg})
	}
	return out, nil
}

func (c *chart) alt() string { return c.what + ": " + c.yLabel + ", by " + c.xLabel }

func (d *Data) chart(e *Experiment, f figure, get func(*Point) value) chart {
	c := chart{title: clean(e.Title), what: clean(e.Title), xLabel: e.X.Label, axis: e.X, rows: e.rows(), failed: e.failed}
	for _, col := range d.columns(e) {
		s := series{column: col, values: make([]value, len(c.rows)), bold: col.name == d.subject()}
		any := false
		for i, r := range c.rows {
			if p := e.Point(col.name, r.x); p != nil {
				s.values[i] = get(p)
				any = any || s.values[i].ok
			}
		}
		if any {
			c.series = append(c.series, s)
		}
	}
	if !c.axis.Categories {
		c.trim()
	}
	return c
}

// trim drops the rows at both ends at which nothing was measured, so that failures do not
// stretch the axis. Those between stay, as gaps.
func (c *chart) trim() {
	from, to := len(c.rows), 0
	for i := range c.rows {
		if slices.ContainsFunc(c.series, func(s series) bool { return s.values[i].ok }) {
			from, to = min(from, i), i+1
		}
	}
	if from >= to {
		return // no series either
	}
	c.rows = c.rows[from:to]
	for i := range c.series {
		c.series[i].values = c.series[i].values[from:to]
	}
}

// span is the range of all values with their spread.
func (c *chart) span() (low, high float64) {
	low, high = math.Inf(1), 0
	for _, s := range c.series {
		for _, v := range s.values {
			if v.ok {
				low, high = min(low, v.low), max(high, v.high)
			}
		}
	}
	return low, high
}

// wide says whether the measured medians differ by that factor, so that a linear axis
// would hide the small ones. Memory stays linear: there the slope is what matters.
func (c *chart) wide(factor float64) bool {
	low, high := math.Inf(1), 0.0
	for _, s := range c.series {
		for _, v := range s.values {
			if v.ok && !s.calculated {
				low, high = min(low, v.mid), max(high, v.mid)
			}
		}
	}
	return high/low >= factor && !c.neverLog
}

func (c *chart) draw() ([]byte, error) {
	rowsWithValues := 0
	for i := range c.rows {
		if slices.ContainsFunc(c.series, func(s series) bool { return s.values[i].ok }) {
			rowsWithValues++
		}
	}
	if c.axis.Categories || rowsWithValues == 1 {
		return c.bars()
	}
	return c.lines()
}

// newPlot sets fonts and sizes.
func newPlot(title string, width vg.Length) *plot.Plot {
	p := plot.New()
	p.Title.TextStyle = textStyle(titleSize, draw.XCenter, draw.YTop)
	p.Title.Text = wrap(title, p.Title.TextStyle, width-20)
	p.Title.Padding = 6
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Padding = 0
		a.Tick.Length = 5
		a.Tick.Label.Font = textStyle(tickSize, 0, 0).Font
	}
	return p
}

func grid(vertical, horizontal bool) *plotter.Grid {
	g := plotter.NewGrid()
	style := draw.LineStyle{Color: gridColor, Width: 0.5}
	g.Vertical, g.Horizontal = style, style
	if !vertical {
		g.Vertical.Color = nil
	}
	if !horizontal {
		g.Horizontal.Color = nil
	}
	return g
}

func (c *chart) lines() ([]byte, error) {
	p := newPlot(c.title, plotWidth)
	p.Add(grid(true, true))

	first, last := c.rows[0].x, c.rows[len(c.rows)-1].x
	if c.axis.Log && first > 0 {
		margin := math.Pow(last/first, 0.03)
		p.X.Scale = plot.LogScale{}
		p.X.Min, p.X.Max = first/margin, last*margin
		p.X.Tick.Marker = measured(c.axis, c.rows, true, plotWidth-100)
	} else if c.axis.Bytes {
		margin := (last - first) * 0.03
		p.X.Min, p.X.Max = first-margin, last+margin
		p.X.Tick.Marker = measured(c.axis, c.rows, false, plotWidth-100)
	} else {
		low := first
		if low > 0 && low < last/2 {
			low = 0
		}
		var ticks plot.ConstantTicks
		p.X.Min, p.X.Max, ticks = linear(low, last, func(v float64, _ int) string { return c.axis.tick(v) })
		margin := (p.X.Max - p.X.Min) * 0.03
		p.X.Min, p.X.Max = p.X.Min-margin, p.X.Max+margin
		p.X.Tick.Marker = ticks
	}

	low, high := c.span()
	var ticks plot.ConstantTicks
	switch {
	case c.wide(20):
		p.Y.Scale = plot.LogScale{}
		p.Y.Min, p.Y.Max, ticks = logarithmic(low, high, digitsShort)
	case c.ratio:
		// Not from 0: a few percent have to be seen.
		p.Y.Min, p.Y.Max, ticks = linear(min(low, 0.95), max(high, 1.05), decimal)
	default:
		p.Y.Min, p.Y.Max, ticks = linear(0, high, decimal)
	}
	p.Y.Tick.Marker = ticks

	var legend []legendEntry
	var front []plot.Plotter // the subject's, drawn last
	for _, s := range c.series {
		drawn, thumbs, err := s.plotters(c.rows)
		if err != nil {
			return nil, err
		}
		if s.bold {
			front = drawn
		} else {
			p.Add(drawn...)
		}
		legend = append(legend, legendEntry{s.title(), thumbs})
	}
	p.Add(front...)
	return c.render(p, c.xLabel, c.yLabel, plotHeight, legend), nil
}

// plotters draws one series: the spread, the line, which has a gap where nothing was
// measured, and the markers.
func (s series) plotters(rows []row) (all []plot.Plotter, thumbs []plot.Thumbnailer, err error) {
	var runs []plotter.XYs
	var points, bars spread
	open := false
	for i, v := range s.values {
		if open = open && v.ok; !v.ok {
			continue
		}
		xy := plotter.XY{X: rows[i].x, Y: v.mid}
		if !open {
			runs = append(runs, nil)
			open = true
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], xy)
		points.add(xy, v)
		if v.low < v.high {
			bars.add(xy, v)
		}
	}
	style := lineStyle(s.column, s.bold)
	if len(bars.XYs) > 0 {
		b, err := plotter.NewYErrorBars(bars)
		if err != nil {
			return nil, nil, err
		}
		b.LineStyle = draw.LineStyle{Color: style.Color, Width: 0.9}
		b.CapWidth = 6
		all = append(all, b)
	}
	for i, run := range runs {
		l, err := plotter.NewLine(run)
		if err != nil {
			return nil, nil, err
		}
		l.LineStyle = style
		all = append(all, l)
		if i == 0 {
			thumbs = append(thumbs, l)
		}
	}
	if s.calculated {
		return all, thumbs, nil
	}
	m, err := plotter.NewScatter(points.XYs)
	if err != nil {
		return nil, nil, err
	}
	m.GlyphStyle = markerOf(s.column)
	return append(all, m), append(thumbs, m), nil
}

// spread is points with error bars.
type spread struct {
	plotter.XYs
	plotter.YErrors
}

func (s *spread) add(xy plotter.XY, v value) {
	s.XYs = append(s.XYs, xy)
	// A little less, so that rounding never takes the lower end to 0, which a
	// logarithmic axis does not have.
	down := (v.mid - v.low) * (1 - 1e-12)
	s.YErrors = append(s.YErrors, struct{ Low, High float64 }{down, v.high - v.mid})
}

// digitsShort writes a power of ten, or twice or five times one.
func digitsShort(v float64) string {
	if v >= 1e6 || v < 1e-4 {
		return decimalExp(v)
	}
	return plain(math.Round(v*1e6) / 1e6)
}
