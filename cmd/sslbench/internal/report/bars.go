package report

import (
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bars draws categories as groups of bars that lie, so that their names can be read.
func (c *chart) bars() ([]byte, error) {
	thick := vg.Length(12)
	if n := len(c.series); n > 4 {
		thick = 9
	}
	group := thick*vg.Length(len(c.series)) + 10
	p := newPlot(c.title, plotWidth)
	figureLabel := c.yLabel
	names := plot.ConstantTicks{}
	lines := 0
	for i, r := range c.rows {
		label := r.label
		if !c.axis.Categories {
			label = c.axis.tick(r.x)
		}
		label = wrap(label, p.Y.Tick.Label, 105)
		for _, ch := range label {
			if ch == '\n' {
				lines++
			}
		}
		names = append(names, plot.Tick{Value: float64(len(c.rows) - 1 - i), Label: label})
	}
	if lines > 0 {
		group = max(group, 30)
	}
	p.Y.Tick.Marker = names
	p.Y.Tick.Length = 4
	p.Y.Min, p.Y.Max = -0.5, float64(len(c.rows))-0.5

	low, high := c.span()
	var ticks plot.ConstantTicks
	if c.wide(100) {
		p.X.Scale = plot.LogScale{}
		// Half a decade below, so that the shortest bar is one.
		p.X.Min, p.X.Max, ticks = logarithmic(low/3, high, digitsShort)
		figureLabel += ", logarithmic"
	} else {
		p.X.Min, p.X.Max, ticks = linear(0, high, decimal)
	}
	p.X.Tick.Marker = ticks

	b := &barPlotter{chart: c, thick: thick}
	p.Add(grid(true, false), b)
	var legend []legendEntry
	for _, s := range c.series {
		legend = append(legend, legendEntry{s.title(), []plot.Thumbnailer{barThumbnail{s.column}}})
	}
	// Room for the title and the axis; and for the label of the categories, which stands upright.
	height := max(group*vg.Length(len(c.rows)), axisLabel().Width(c.xLabel)) + 75
	return c.render(p, figureLabel, c.xLabel, height, legend), nil
}

// barPlotter draws all bars of a chart, with their spread and their figures.
type barPlotter struct {
	*chart
	thick vg.Length
}

// valueWidth is the room right of the longest bar for its figure.
const valueWidth vg.Length = 34

// GlyphBoxes implements plot.GlyphBoxer: it keeps room for the figures.
func (b *barPlotter) GlyphBoxes(*plot.Plot) []plot.GlyphBox {
	return []plot.GlyphBox{{X: 1, Rectangle: vg.Rectangle{Max: vg.Point{X: valueWidth}}}}
}

// Plot implements plot.Plotter.
func (b *barPlotter) Plot(c draw.Canvas, p *plot.Plot) {
	trX, trY := p.Transforms(&c)
	figure := textStyle(7, draw.XLeft, draw.YCenter)
	if b.ratio {
		x := trX(1)
		c.StrokeLine2(draw.LineStyle{Color: color.Black, Width: 0.8}, x, c.Min.Y, x, c.Max.Y)
	}
	for i, r := range b.rows {
		top := trY(float64(len(b.rows)-1-i)) + b.thick*vg.Length(len(b.series))/2
		for k, s := range b.series {
			v := s.values[i]
			r1 := vg.Rectangle{
				Min: vg.Point{X: c.Min.X, Y: top - b.thick*vg.Length(k+1) + 0.5},
				Max: vg.Point{X: c.Min.X, Y: top - b.thick*vg.Length(k) - 0.5},
			}
			mid := (r1.Min.Y + r1.Max.Y) / 2
			if !v.ok {
				text := none
				if b.failed(s.name, r.x) {
					text = failedCell
				}
				c.FillText(figure, vg.Point{X: c.Min.X + 3, Y: mid}, text)
				continue
			}
			r1.Max.X = max(trX(v.mid), c.Min.X+0.5)
			fillBar(&c, r1, s.column)
			end := r1.Max.X
			if v.low < v.high {
				end = b.spread(&c, trX(v.low), trX(v.high), mid)
			}
			text := digits(v.mid)
			// No line of the grid or at 1 may run through it.
			c.SetColor(color.White)
			c.Fill(vg.Rectangle{
				Min: vg.Point{X: end + 2, Y: mid - 3.5},
				Max: vg.Point{X: end + 4 + figure.Width(text), Y: mid + 3.5},
			}.Path())
			c.FillText(figure, vg.Point{X: end + 3, Y: mid}, text)
		}
	}
}

// spread draws an error bar, black in a white seam so that it is seen on any bar.
func (b *barPlotter) spread(c *draw.Canvas, low, high, y vg.Length) vg.Length {
	low = max(low, c.Min.X)
	tip := b.thick / 4
	var p vg.Path
	for _, l := range [][2]vg.Point{
		{{X: low, Y: y}, {X: high, Y: y}},
		{{X: low, Y: y - tip}, {X: low, Y: y + tip}},
		{{X: high, Y: y - tip}, {X: high, Y: y + tip}},
	} {
		p.Move(l[0])
		p.Line(l[1])
	}
	c.SetLineStyle(draw.LineStyle{Color: color.White, Width: 2.4})
	c.Stroke(p)
	c.SetLineStyle(draw.LineStyle{Color: color.Black, Width: 0.9})
	c.Stroke(p)
	return max(high, low)
}

// barThumbnail is a bar in the legend.
type barThumbnail struct{ column }

// Thumbnail implements plot.Thumbnailer.
func (t barThumbnail) Thumbnail(c *draw.Canvas) {
	fillBar(c, c.Rectangle, t.column)
}

// decimalExp writes a number that is too large or too small for digits.
func decimalExp(v float64) string {
	exp := math.Floor(math.Log10(v) + 1e-9)
	return strconv.FormatFloat(math.Round(v/math.Pow(10, exp)), 'f', 0, 64) + "e" + strconv.Itoa(int(exp))
}
