package report

import (
	"image/color"
	"math"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A server looks the same in all plots: its colour, marker, dashes and hatching are
// picked by its place among the servers. The four lists have different lengths, so
// that two servers never agree in all, however many there are.

// palette is that of Okabe and Ito, made for colour-blind readers, without its yellow,
// which a white page swallows; and a brown.
var palette = []color.NRGBA{
	{0x00, 0x72, 0xB2, 0xFF}, // blue
	{0x00, 0x00, 0x00, 0xFF}, // black
	{0xD5, 0x5E, 0x00, 0xFF}, // vermilion
	{0x00, 0x9E, 0x73, 0xFF}, // green
	{0xAA, 0x33, 0x77, 0xFF}, // purple
	{0xE6, 0x9F, 0x00, 0xFF}, // orange
	{0x56, 0xB4, 0xE9, 0xFF}, // sky blue
	{0x7F, 0x4F, 0x24, 0xFF}, // brown
	{0x80, 0x80, 0x80, 0xFF}, // grey
}

var (
	gridColor  = color.NRGBA{0xD8, 0xD8, 0xD8, 0xFF}
	floorColor = color.NRGBA{0x50, 0x50, 0x50, 0xFF}
)

var dashes = [][]vg.Length{
	nil,
	{9, 3},
	{2, 2},
	{9, 3, 2, 3},
	{5, 2},
	{9, 2, 2, 2, 2, 2},
	{14, 4},
	{1, 3},
	{5, 2, 1, 2},
	{14, 3, 2, 3},
	{3, 4},
}

// floorDashes are for what was calculated, and for nothing else.
var floorDashes = []vg.Length{6, 5}

func colorOf(c column) color.NRGBA {
	if c.calculated {
		return floorColor
	}
	return palette[c.style%len(palette)]
}

func lineStyle(c column, bold bool) draw.LineStyle {
	s := draw.LineStyle{Color: colorOf(c), Width: 1.1}
	if bold {
		s.Width = 2
	}
	if s.Dashes = dashes[c.style%len(dashes)]; c.calculated {
		s.Dashes = floorDashes
	}
	return s
}

// marker is a polygon, filled with the server's colour or with white.
type marker struct {
	corners int     // 0: a circle
	turn    float64 // of the first corner, in radians from the right
	inner   float64 // for stars: the radius of the inner corners; 0 for none
	hollow  bool
}

var markers = []marker{
	{},
	{corners: 4, turn: math.Pi / 4},
	{corners: 3, turn: math.Pi / 2},
	{corners: 4, turn: 0, hollow: true},
	{corners: 3, turn: -math.Pi / 2},
	{hollow: true},
	{corners: 4, turn: 0},
	{corners: 3, turn: math.Pi / 2, hollow: true},
	{corners: 4, turn: math.Pi / 4, hollow: true},
	{corners: 5, turn: math.Pi / 2, inner: 0.4},
}

func markerOf(c column) draw.GlyphStyle {
	return draw.GlyphStyle{Color: colorOf(c), Radius: 3.4, Shape: markers[c.style%len(markers)]}
}

// DrawGlyph implements draw.GlyphDrawer.
func (m marker) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	var p vg.Path
	if m.corners == 0 {
		p.Move(vg.Point{X: at.X + sty.Radius, Y: at.Y})
		p.Arc(at, sty.Radius, 0, 2*math.Pi)
	}
	corner := func(angle, r float64) {
		pt := vg.Point{X: at.X + vg.Length(r*math.Cos(angle)), Y: at.Y + vg.Length(r*math.Sin(angle))}
		if len(p) == 0 {
			p.Move(pt)
		} else {
			p.Line(pt)
		}
	}
	// Corners reach further out, so that all shapes look equally large.
	r := float64(sty.Radius) * 1.25
	for i := range m.corners {
		step := 2 * math.Pi / float64(m.corners)
		angle := m.turn + float64(i)*step
		corner(angle, r)
		if m.inner > 0 {
			corner(angle+step/2, r*m.inner)
		}
	}
	p.Close()
	fill := sty.Color
	if m.hollow {
		fill = color.White
	}
	c.SetColor(fill)
	c.Fill(p)
	c.SetLineStyle(draw.LineStyle{Color: sty.Color, Width: 1})
	c.Stroke(p)
}

// hatch fills a bar: lines in the directions named, over the colour or over white.
type hatch struct {
	rising, falling, across, along bool
	light                          bool // the colour's lines on white, instead of white lines on the colour
	gap                            vg.Length
}

var hatches = []hatch{
	{},
	{light: true},
	{rising: true, gap: 5},
	{light: true, falling: true, gap: 4},
	{along: true, gap: 4},
	{light: true, rising: true, falling: true, gap: 5},
	{across: true, gap: 4},
	{light: true, along: true, gap: 3},
	{falling: true, rising: true, gap: 6},
	{light: true, rising: true, gap: 3},
}

// fillBar draws one bar. What was calculated is pale, with a dashed outline.
func fillBar(c *draw.Canvas, r vg.Rectangle, of column) {
	outline := draw.LineStyle{Color: colorOf(of), Width: 0.8}
	if of.calculated {
		c.SetColor(gridColor)
		c.Fill(r.Path())
		outline.Dashes = []vg.Length{3, 2}
	} else {
		hatches[of.style%len(hatches)].fill(c, r, colorOf(of))
	}
	c.SetLineStyle(outline)
	c.Stroke(r.Path())
}

func (h hatch) fill(c *draw.Canvas, r vg.Rectangle, col color.Color) {
	back, lines := col, color.Color(color.White)
	if h.light {
		back, lines = lines, back
	}
	c.SetColor(back)
	c.Fill(r.Path())
	var p vg.Path
	line := func(x1, y1, x2, y2 vg.Length) {
		p.Move(vg.Point{X: x1, Y: y1})
		p.Line(vg.Point{X: x2, Y: y2})
	}
	height := r.Max.Y - r.Min.Y
	if h.along {
		for y := r.Min.Y + h.gap/2; y < r.Max.Y; y += h.gap {
			line(r.Min.X, y, r.Max.X, y)
		}
	}
	if h.across {
		for x := r.Min.X + h.gap; x < r.Max.X; x += h.gap {
			line(x, r.Min.Y, x, r.Max.Y)
		}
	}
	// A diagonal starts left of the bar where it must, and is cut at both ends.
	for x := r.Min.X - height + h.gap; h.gap > 0 && x < r.Max.X; x += h.gap {
		from, to := max(x, r.Min.X), min(x+height, r.Max.X)
		if h.rising {
			line(from, r.Min.Y+(from-x), to, r.Min.Y+(to-x))
		}
		if h.falling {
			line(from, r.Max.Y-(from-x), to, r.Max.Y-(to-x))
		}
	}
	if len(p) > 0 {
		c.SetLineStyle(draw.LineStyle{Color: lines, Width: 1})
		c.Stroke(p)
	}
}

// textStyle is the one font of all plots. Its size is in points.
func textStyle(size vg.Length, x text.XAlignment, y text.YAlignment) text.Style {
	return text.Style{
		Color:   color.Black,
		Font:    font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size),
		XAlign:  x,
		YAlign:  y,
		Handler: text.Plain{Fonts: font.DefaultCache},
	}
}
