package report

import (
	"bytes"
	_ "embed"
	"html/template"
	"regexp"
)

//go:embed report.html.tmpl
var htmlSource string

var htmlTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	// The SVG is our own, and the names in it are escaped already.
	"svg":    func(p picture) template.HTML { return template.HTML(p.inline()) },
	"orNone": orNone,
	// textColumn: the row's cell i stands under a heading of words, not of figures.
	"textColumn": func(i int, head []string) bool { return head[i] == "server" },
}).Parse(htmlSource))

var svgSize = regexp.MustCompile(` width="[0-9.]+pt" height="[0-9.]+pt"`)

func (p *page) html() ([]byte, error) {
	var b bytes.Buffer
	if err := htmlTemplate.Execute(&b, p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// inline is the picture for a page: its size comes from the page's style sheet.
func (p picture) inline() []byte {
	return svgSize.ReplaceAll(p.SVG, nil)
}
