package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"go.yaml.in/yaml/v3"

	"github.com/spacemonad/go-openssl/internal/filetype"
)

// source is where a value comes from; a later one wins over those before it.
type source uint8

const (
	byDefault source = iota
	byFile
	byEnvironment
	byFlag
)

func (s source) String() string { return [...]string{"default", "file", "environment", "flag"}[s] }

// given is what a setting got: one text, or those of a list, and by what.
type given struct {
	by    source
	texts []string
	line  int // of the file
}

// raw has the texts of settings by name, as one source gives them: one text, or
// those of a list.
type raw map[string][]string

// faults are what is wrong with the settings, on one line.
type faults []error

func (f faults) Error() string {
	var texts []string
	for _, err := range f {
		texts = append(texts, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return strings.Join(texts, "; ")
}

func (f faults) Unwrap() []error { return f }

const prefix = "SSLECHO_" // of our environment variables

// foreign are the variables with our prefix that cobra reads in completions.
var foreign = []string{prefix + "ACTIVE_HELP", prefix + "COMPLETION_DESCRIPTIONS"}

// variable is the environment variable of a setting.
func variable(name string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// where names a setting as it stands in its source: "--cert", "SSLECHO_CERT" or
// "/etc/sslecho.yaml:3: cert". One that has its default is named by its flag.
func (c *Config) where(name string) string {
	switch g := c.given[name]; g.by {
	case byFile:
		return fmt.Sprintf("%s:%d: %s", c.File, g.line, name)
	case byEnvironment:
		return variable(name)
	}
	return "--" + name
}

// load reads the environment, the file and the flags.
func load(flags raw, environ func() []string) (*Config, error) {
	c := &Config{given: map[string]given{}, flags: flags, environ: environ}
	environment, errs := fromEnvironment(environ())
	c.File = first("config", flags, environment)
	file, lines, more := fromFile(c.File)
	errs = append(errs, more...)
	for _, s := range c.settings() {
		g := given{by: byDefault, texts: s.split(s.def)}
		for by, r := range []raw{byFile: file, byEnvironment: environment, byFlag: flags} {
			if texts, ok := r[s.name]; ok {
				g = given{source(by), texts, lines[s.name]}
			}
		}
		c.given[s.name] = g
		switch bad, err := s.set(g.texts); {
		case err == nil:
		case s.secret || errors.Is(err, errContent) || errors.Is(err, errPIN):
			errs = append(errs, fmt.Errorf("%s: %w (its value may be secret and is not shown)", c.where(s.name), err))
		default:
			errs = append(errs, fmt.Errorf("%s %q: %w", c.where(s.name), bad, err))
		}
	}
	if len(errs) == 0 {
		errs = c.conflicts()
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return c, nil
}

// split makes the elements of a list that is written as one text, or one text.
func (s *setting) split(text string) []string {
	switch {
	case !s.list:
		return []string{text}
	case s.arg == argNames: // there are commas in an element
		return split(text, ";")
	}
	return split(text, ",")
}

func split(text, sep string) []string {
	out := []string{}
	if text == "" {
		return out
	}
	for part := range strings.SplitSeq(text, sep) {
		out = append(out, strings.TrimSpace(part))
	}
	return out
}

// fromFlag has the texts of a flag that was used at least once.
func (s *setting) fromFlag(uses []string) []string {
	switch {
	case !s.list:
		return uses[len(uses)-1:]
	case len(uses) == 1 && uses[0] == "":
		return []string{}
	case s.repeat:
		return uses
	}
	return s.split(strings.Join(uses, ","))
}

// first is the text of a setting in the first source that has it, or empty.
func first(name string, sources ...raw) string {
	for _, r := range sources {
		if texts, ok := r[name]; ok {
			return texts[0]
		}
	}
	return ""
}

// fromEnvironment has the texts of our variables.
func fromEnvironment(environ []string) (r raw, errs faults) {
	r = raw{}
	variables := map[string]*setting{}
	for _, s := range settings {
		variables[variable(s.name)] = s
	}
	for _, line := range environ {
		name, text, _ := strings.Cut(line, "=")
		if s := variables[name]; s != nil {
			r[s.name] = s.split(text)
		} else if strings.HasPrefix(name, prefix) && !slices.Contains(foreign, name) {
			errs = append(errs, fmt.Errorf("%s: there is no such variable%s", name, didYouMean("", name, slices.Collect(maps.Keys(variables)))))
		}
	}
	return r, errs
}

var tab = regexp.MustCompile(`(?m)^ *\t`)

// fromFile has the texts of the keys of the configuration file, if there is
// one, and the lines where they begin.
func fromFile(name string) (r raw, lines map[string]int, errs faults) {
	if name == "" {
		return nil, nil, nil
	}
	content := map[string]yaml.Node{}
	p, err := os.ReadFile(name)
	if err == nil {
		d := yaml.NewDecoder(bytes.NewReader(p))
		if err = d.Decode(&content); err == io.EOF {
			err = nil
		} else if at := tab.FindIndex(p); err != nil && at != nil {
			err = fmt.Errorf("line %d begins with a tab; YAML wants spaces there", bytes.Count(p[:at[0]], []byte("\n"))+1)
		} else if err != nil {
			err = fmt.Errorf("%w; want keys and values in YAML, found %s", err, filetype.Describe(p))
		} else if d.Decode(new(yaml.Node)) != io.EOF {
			err = errors.New("there is more than one YAML document in it")
		}
	}
	if err != nil {
		return nil, nil, faults{fmt.Errorf("the configuration file %s cannot be used: %w", name, err)}
	}
	r, lines = raw{}, map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(content)) {
		node := content[key]
		lines[key] = node.Line
		i := slices.IndexFunc(settings, func(s *setting) bool { return s.name == key })
		switch {
		case i >= 0 && !settings[i].act:
			var texts []string
			if texts, err = settings[i].fromNode(&node); err == nil {
				r[key] = texts
			}
		case i >= 0:
			err = fmt.Errorf("it cannot be set in the file, use --%s or %s", key, variable(key))
		case node.Kind == yaml.MappingNode:
			err = fmt.Errorf("there is no such key%s; there are no sections, all keys stand at the top", didYouMean("", key, keys()))
		default:
			err = fmt.Errorf("there is no such key%s", didYouMean("", key, keys()))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %s: %w", name, node.Line, key, err))
		}
	}
	return r, lines, errs
}

// keys are the names of the settings that the file can have.
func keys() (out []string) {
	for _, s := range settings {
		if !s.act {
			out = append(out, s.name)
		}
	}
	return out
}

// fromNode has the texts of a value in the file.
func (s *setting) fromNode(n *yaml.Node) (texts []string, err error) {
	switch {
	case n.Kind == yaml.SequenceNode && s.list:
		texts = []string{}
		for _, element := range n.Content {
			if element.Kind != yaml.ScalarNode {
				return nil, errors.New("an element of a list is one value")
			}
			texts = append(texts, scalar(element))
		}
		return texts, nil
	case n.Kind == yaml.MappingNode && s.arg == argNames: // name: files
		for i := 0; i < len(n.Content); i += 2 {
			name, files := n.Content[i].Value, n.Content[i+1]
			list := []string{files.Value}
			if files.Kind == yaml.SequenceNode {
				if list, err = s.fromNode(files); err != nil || strings.Contains(strings.Join(list, ""), ",") {
					return nil, fmt.Errorf("%s: name files without a comma", name)
				}
			}
			texts = append(texts, name+"="+strings.Join(list, ","))
		}
		return texts, nil
	case n.Kind != yaml.ScalarNode:
		return nil, errors.New("one value is wanted, not a list or keys")
	case n.Tag == "!!null":
		return nil, errors.New("there is no value: give one, or take the key out")
	}
	return s.fromFlag([]string{scalar(n)}), nil
}

// scalar is one as it was written, but for what is no UTF-8.
func scalar(n *yaml.Node) (s string) {
	if n.ShortTag() == "!!binary" && n.Decode(&s) == nil {
		return s
	}
	return n.Value
}

// alike is how similar a name must be, from 0 to 1, to be offered for a wrong
// one. A common beginning counts.
const alike = 0.55

var similarity = levenshtein.NewParams().BonusThreshold(0.3).BonusPrefix(6)

// didYouMean is the end of an error about a wrong name: the one of names that
// is most like it, with mark in front.
func didYouMean(mark, name string, names []string) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer(prefix, "", "_", "", "-", "", ".", "").Replace(s))
	}
	best, text := alike, ""
	for _, n := range names {
		if m := levenshtein.Match(plain(name), plain(n), similarity); m > best {
			best, text = m, ", did you mean "+mark+n+"?"
		}
	}
	return text
}

// Reload reads the environment and the configuration file again, under the
// flags of the command line that c came from. c stays as it is, and remains in
// force if there is an error.
func (c *Config) Reload() (*Config, error) { return load(c.flags, c.environ) }

// Changes names the settings that differ: those that a running daemon can
// apply, and those that count from its next start. It compares settings, not
// what stands in the files that they name.
func Changes(old, new *Config) (applied, needRestart []string) {
	was := old.settings()
	for i, s := range new.settings() {
		switch {
		case s.act || reflect.DeepEqual(was[i].to, s.to):
		case s.restart:
			needRestart = append(needRestart, s.name)
		default:
			applied = append(applied, s.name)
		}
	}
	return applied, needRestart
}

// Merge is what a daemon that runs with running goes on with after it has
// loaded another configuration: of that what it can apply, the rest as it was.
// Compare the next one with this.
func Merge(running, loaded *Config) *Config {
	merged := *loaded
	merged.given = maps.Clone(loaded.given)
	was := running.settings()
	for i, s := range merged.settings() {
		if s.restart {
			merged.given[s.name] = running.given[s.name]
			reflect.ValueOf(s.to).Elem().Set(reflect.ValueOf(was[i].to).Elem())
		}
	}
	return &merged
}

// Print writes all settings as a configuration file, the source of each in a
// comment behind it. Files that hold secrets are named and not read.
func (c *Config) Print(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# sslecho: all settings, and where each comes from\n")
	for i, s := range settings {
		if s.act {
			continue
		}
		if i == 0 || s.group != settings[i-1].group {
			fmt.Fprintf(&b, "\n# %s\n", s.group)
		}
		var values []*yaml.Node
		for _, text := range c.given[s.name].texts {
			n := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
			if n.ShortTag() == "!!null" {
				n.Style = yaml.DoubleQuotedStyle
			}
			values = append(values, n)
		}
		var value any = values
		if !s.list {
			value = values[0]
		}
		text, err := yaml.Marshal(map[string]any{s.name: value})
		if err != nil {
			return err
		}
		line, rest, _ := strings.Cut(string(text), "\n")
		fmt.Fprintf(&b, "%s # %v\n%s", line, c.given[s.name].by, rest)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
