package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Write makes the report in dir, which it creates where needed: data.json, README.md,
// report.html and one SVG file for each plot. Each file is replaced as a whole or not at
// all. Other files in dir stay as they are.
func (d *Data) Write(dir string) error {
	if err := d.Check(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	p, err := d.page()
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	raw, err := d.json()
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	html, err := p.html()
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, "data.json"), raw); err != nil {
		return err
	}
	for _, s := range p.Sections {
		for _, pic := range s.Plots {
			if err := replace(filepath.Join(dir, pic.File), pic.SVG); err != nil {
				return err
			}
		}
	}
	if err := replace(filepath.Join(dir, "report.html"), html); err != nil {
		return err
	}
	return replace(filepath.Join(dir, "README.md"), p.markdown())
}

func (d *Data) json() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// replace writes a file beside the old one and then takes its place.
func replace(name string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
