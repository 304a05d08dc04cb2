package config

import (
	"bytes"
	"fmt"
	"io"

	"github.com/knadh/koanf/parsers/yaml"
)

// Print writes all settings as a configuration file, the source of each in a comment behind it. Files that hold
// secrets are named and not read.
func (c *Config) Print(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintln(&b, "# sslecho: all settings, and where each comes from")
	group := ""
	for _, s := range settings {
		if s.act {
			continue
		}
		if s.group != group {
			group = s.group
			fmt.Fprintf(&b, "\n# %s\n", group)
		}
		text, err := yaml.Parser().Marshal(map[string]any{s.name: s.value.plain(c)})
		if err != nil {
			return fmt.Errorf("%s cannot be printed: %w", s.name, err)
		}
		// The comment ends the first line, where it also fits behind a list's key.
		first, rest, _ := bytes.Cut(text, []byte("\n"))
		fmt.Fprintf(&b, "%s # %v\n%s", first, c.sources[s.name], rest)
	}
	_, err := w.Write(b.Bytes())
	return err
}
