package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"html"
	"math"
	"regexp"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// legendEntry is a name and a sample of what stands for it.
type legendEntry struct {
	name   string
	thumbs []plot.Thumbnailer
}

const (
	thumbWidth  vg.Length = 30
	legendLine  vg.Length = 15
	legendSpace vg.Length = 14 // between two entries of a line
)

// legendLines breaks the entries into lines of at most that width.
func legendLines(entries []legendEntry, style text.Style, width vg.Length) [][]legendEntry {
	var lines [][]legendEntry
	used := width
	for _, e := range entries {
		w := thumbWidth + 5 + style.Width(e.name) + legendSpace
		if used+w > width+legendSpace {
			lines = append(lines, nil)
			used = 0
		}
		lines[len(lines)-1] = append(lines[len(lines)-1], e)
		used += w
	}
	return lines
}

func axisLabel() text.Style { return textStyle(labelSize, draw.XCenter, draw.YCenter) }

// render draws a plot with the labels of its axes, and with the legend below it, outside
// of the axes. The labels are not left to the library: it takes the middle of a
// logarithmic axis for somewhere else and makes room there.
func (c *chart) render(p *plot.Plot, horizontal, vertical string, height vg.Length, legend []legendEntry) []byte {
	const line = labelSize * 1.2
	style := textStyle(tickSize, draw.XLeft, draw.YCenter)
	lines := legendLines(legend, style, plotWidth-40)
	horizontal = wrap(horizontal, axisLabel(), plotWidth-130)
	vertical = wrap(vertical, axisLabel(), height-40)
	left := 10 + line*vg.Length(1+strings.Count(vertical, "\n"))
	labels := 4 + line*vg.Length(1+strings.Count(horizontal, "\n"))
	below := legendLine*vg.Length(len(lines)) + 8
	// A longer title must not squeeze the plot.
	height += below + vg.Length(strings.Count(p.Title.Text, "\n"))*titleSize*1.2

	canvas := vgsvg.New(plotWidth, height)
	dc := draw.New(canvas)
	dc.SetColor(p.BackgroundColor)
	dc.Fill(dc.Rectangle.Path())
	inner := draw.Crop(dc, left, -14, below+labels, -6)
	p.Draw(inner)
	data := p.DataCanvas(inner)
	center := data.Center()
	dc.FillText(axisLabel(), vg.Point{X: center.X, Y: below + labels/2}, horizontal)
	upright := axisLabel()
	upright.Rotation = math.Pi / 2
	dc.FillText(upright, vg.Point{X: left/2 - 2, Y: center.Y}, vertical)

	y := below - legendLine/2 - 2
	for _, line := range lines {
		x := dc.Min.X + 20
		for _, e := range line {
			icon := draw.Canvas{Canvas: dc.Canvas, Rectangle: vg.Rectangle{
				Min: vg.Point{X: x, Y: y - 4.5},
				Max: vg.Point{X: x + thumbWidth, Y: y + 4.5},
			}}
			for _, t := range e.thumbs {
				t.Thumbnail(&icon)
			}
			x += thumbWidth + 5
			dc.FillText(style, vg.Point{X: x, Y: y}, e.name)
			x += style.Width(e.name) + legendSpace
		}
		y -= legendLine
	}
	var b bytes.Buffer
	canvas.WriteTo(&b) // a bytes.Buffer takes everything
	return finish(b.Bytes(), plotWidth, height, c.alt())
}

// finish gives the library's SVG a head of our own, with a text for those who do not
// see it, and fonts to fall back on.
func finish(svg []byte, width, height vg.Length, alt string) []byte {
	_, body, _ := bytes.Cut(svg, []byte("<svg "))
	_, body, _ = bytes.Cut(body, []byte(">"))
	var name bytes.Buffer
	xml.EscapeText(&name, []byte(alt))
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="%s" width="%.5gpt" height="%.5gpt" viewBox="0 0 %.5g %.5g">`,
		name.Bytes(), width.Points(), height.Points(), width.Points(), height.Points())
	fmt.Fprintf(&out, "\n<title>%s</title>", name.Bytes())
	out.Write(textPattern.ReplaceAllFunc(body, func(text []byte) []byte {
		m := textPattern.FindSubmatch(text)
		size, _ := strconv.ParseFloat(string(m[2]), 64)
		width := textStyle(vg.Length(size), 0, 0).Width(html.UnescapeString(string(m[3])))
		return fmt.Appendf(nil, `%s textLength="%.5g" lengthAdjust="spacingAndGlyphs" style="font-family:%s;font-size:%spx">%s</text>`,
			bytes.TrimSpace(m[1]), width.Points(), fontFamily, m[2], m[3])
	}))
	return out.Bytes()
}

// The plot library places text by the widths of Liberation Sans, which are those of
// Arial and Helvetica. Where none of them is there, textLength fits the other font in.
const fontFamily = "Liberation Sans,Arial,Helvetica,sans-serif"

var textPattern = regexp.MustCompile(`(<text [^>]*?)\s+style="font-family:Liberation Sans;[^"]*font-size:([0-9.]+)px[^"]*">([^<]*)</text>`)

// wrap breaks a text into lines of at most that width, between words.
func wrap(s string, style text.Style, width vg.Length) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		switch longer := line + " " + word; {
		case line == "":
			line = word
		case style.Width(longer) > width:
			lines = append(lines, line)
			line = word
		default:
			line = longer
		}
	}
	return strings.Join(append(lines, line), "\n")
}
