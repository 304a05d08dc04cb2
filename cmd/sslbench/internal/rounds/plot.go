package rounds

import (
	"fmt"
	"image/color"
	"io"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// shown are the servers in the picture, with their colours.
var shown = []struct {
	server string
	color  color.RGBA
}{
	{"sslecho", color.RGBA{0x1b, 0x6e, 0xc2, 0xff}}, {"sslhttp", color.RGBA{0x1b, 0x9e, 0x77, 0xff}},
	{"sslecho-direct", color.RGBA{0xe6, 0x9f, 0x00, 0xff}}, {"crypto-tls", color.RGBA{0x88, 0x88, 0x88, 0xff}},
}

// points are the ratios of one server, with the spread of its rounds.
type points struct {
	plotter.XYs
	plotter.XErrors
}

// Plot draws the ratios of CPU time as SVG.
func (f *File) Plot(w io.Writer) error {
	p := plot.New()
	p.X.Label.Text = "CPU time as a ratio to the server named: median, lowest and highest round"
	var names []string
	rows := slices.DeleteFunc(f.Workloads(), func(w string) bool { return f.baseline(w) == "" || Figure(w) != CPU })
	slices.Reverse(rows) // the first one is at the top
	for _, w := range rows {
		names = append(names, fmt.Sprintf("%s : %s", Title(w), f.baseline(w)))
	}
	one, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(rows)) - 0.5}})
	if err != nil {
		return err
	}
	p.Add(plotter.NewGrid(), one)
	for _, s := range shown {
		var pts points
		for y, w := range rows {
			if r, ok := f.Of(w, s.server, RatioTo(f.baseline(w))); ok && s.server != f.baseline(w) {
				pts.XYs = append(pts.XYs, plotter.XY{X: r.Median, Y: float64(y)})
				pts.XErrors = append(pts.XErrors, struct{ Low, High float64 }{r.Median - r.Low, r.High - r.Median})
			}
		}
		if pts.XYs == nil {
			continue
		}
		dots, err := plotter.NewScatter(pts)
		if err != nil {
			return err
		}
		bars, err := plotter.NewXErrorBars(pts)
		if err != nil {
			return err
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: s.color, Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}
		bars.Color = s.color
		p.Add(bars, dots)
		p.Legend.Add(s.server, dots)
	}
	p.Legend.Top = true
	p.NominalY(names...)
	p.X.Min = min(p.X.Min, 0.5)
	c := vgsvg.New(18*vg.Centimeter, vg.Length(len(rows))*0.5*vg.Centimeter+3*vg.Centimeter)
	p.Draw(draw.New(c))
	_, err = c.WriteTo(w)
	return err
}
