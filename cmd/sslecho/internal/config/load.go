package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	yamlv3 "go.yaml.in/yaml/v3"

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

func (s source) String() string {
	return [...]string{byDefault: "default", byFile: "file", byEnvironment: "environment", byFlag: "flag"}[s]
}

// where names a setting as it stands in its source: "--cert", "SSLECHO_CERT" or "/etc/sslecho.yaml: cert". One that has
// its default is named by its flag.
func (c *Config) where(name string) string {
	switch c.sources[name] {
	case byFile:
		return c.File + ": " + name
	case byEnvironment:
		return variable(name)
	}
	return "--" + name
}

// delimiter is in no name of a setting or a variable, so that koanf takes none for a path.
const delimiter = "\x00"

// changed is the raw value of each flag that was used.
func changed(fs *pflag.FlagSet) (map[string]any, error) {
	k := koanf.New(delimiter)
	err := k.Load(posflag.ProviderWithFlag(fs, delimiter, nil, func(f *pflag.Flag) (string, any) {
		v, ok := f.Value.(*flagValue)
		if !ok || !f.Changed {
			return "", nil // --help
		}
		return f.Name, v.setting.fromFlags(v.uses)
	}), nil)
	return k.Raw(), err
}

// loader puts the sources on top of each other.
type loader struct {
	config *Config
	all    *koanf.Koanf
	errs   []error
}

// load reads everything but the flags, which are raw values.
func load(flags map[string]any, environ func() []string) (*Config, error) {
	l := &loader{
		config: &Config{sources: map[string]source{}, flags: flags, environ: environ},
		all:    koanf.New(delimiter),
	}
	environment := l.environment()
	l.config.File = configFile(environment, flags)
	for from, raw := range [...]map[string]any{
		byDefault: defaults(), byFile: l.file(), byEnvironment: environment, byFlag: flags,
	} {
		if err := l.all.Load(confmap.Provider(raw, ""), nil); err != nil {
			return nil, err
		}
		for name := range raw {
			l.config.sources[name] = source(from)
		}
	}
	for _, s := range settings {
		l.set(s)
	}
	if len(l.errs) > 0 {
		return nil, &usageError{l.errs, l.config.LogFormat}
	}
	if err := l.config.Validate(); err != nil {
		return nil, err
	}
	return l.config, nil
}

func (l *loader) complain(format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

// set reads the raw value that won.
func (l *loader) set(s *setting) {
	texts, ok := l.all.Get(s.name).([]string)
	if !ok {
		texts = []string{l.all.String(s.name)}
	}
	err := s.value.set(l.config, texts)
	for _, text := range texts {
		if err == nil && strings.ContainsFunc(text, unicode.IsControl) {
			err = &badValue{text, errors.New("use no control characters, such as the end of a line")}
		}
	}
	var bad *badValue
	switch {
	case errors.As(err, &bad) && (s.secret || errors.Is(err, errContent) || errors.Is(err, errPIN)):
		l.complain("%s: %w (its value may be secret and is not shown)", l.config.where(s.name), bad.err)
	case errors.As(err, &bad):
		l.complain("%s %q: %w", l.config.where(s.name), bad.text, bad.err)
	}
}

// defaults are the raw values of all settings.
func defaults() map[string]any {
	raw := map[string]any{}
	for _, s := range settings {
		raw[s.name] = s.fromVariable(s.def)
	}
	return raw
}

// configFile is the file that is to be read, or empty.
func configFile(environment, flags map[string]any) string {
	for _, raw := range []map[string]any{flags, environment} {
		if name, ok := raw["config"].(string); ok {
			return name
		}
	}
	return ""
}

// environment is the raw value of each of our variables.
func (l *loader) environment() map[string]any {
	byVariable, known := map[string]*setting{}, []string{}
	for _, s := range settings {
		byVariable[variable(s.name)] = s
		known = append(known, strings.TrimPrefix(variable(s.name), prefix))
	}
	k := koanf.New(delimiter)
	err := k.Load(env.Provider(delimiter, env.Opt{
		Prefix:      prefix,
		EnvironFunc: l.config.environ,
		TransformFunc: func(name, text string) (string, any) {
			s := byVariable[name]
			switch {
			case s != nil:
				return s.name, s.fromVariable(text)
			case !slices.Contains(foreign, name):
				l.complain("%s: there is no such variable%s", name, didYouMean(prefix, strings.TrimPrefix(name, prefix), known))
			}
			return "", nil
		},
	}), nil)
	if err != nil {
		l.complain("environment: %w", err)
	}
	return k.Raw()
}

// file is the raw value of each key of the configuration file, if there is one.
func (l *loader) file() map[string]any {
	name := l.config.File
	if name == "" {
		return nil
	}
	k := koanf.New(delimiter)
	if err := k.Load(file.Provider(name), oneDocument{yaml.Parser()}); err != nil {
		l.complain("the configuration file %s cannot be used: %w", name, err)
		return nil
	}
	keys := names(func(s *setting) bool { return !s.act })
	raw, content := map[string]any{}, k.Raw()
	for _, key := range slices.Sorted(maps.Keys(content)) {
		s := lookup(key)
		_, section := content[key].(map[string]any)
		switch {
		case s == nil && section:
			l.complain("%s: %s: there is no such key%s; there are no sections, all keys stand at the top", name, key, didYouMean("", key, keys))
			continue
		case s == nil:
			l.complain("%s: %s: there is no such key%s", name, key, didYouMean("", key, keys))
			continue
		case s.act:
			l.complain("%s: %s: it cannot be set in the file, use --%s or %s", name, key, s.name, variable(s.name))
			continue
		}
		v, err := s.fromFile(content[key])
		if err != nil {
			l.complain("%s: %s: %w", name, key, err)
			continue
		}
		raw[key] = v
	}
	return raw
}

// oneDocument refuses a second document, which the parser would pass over.
type oneDocument struct{ *yaml.YAML }

// Unmarshal implements koanf.Parser.
func (p oneDocument) Unmarshal(b []byte) (map[string]any, error) {
	d := yamlv3.NewDecoder(bytes.NewReader(b))
	for documents := 0; d.Decode(new(yamlv3.Node)) == nil; documents++ {
		if documents > 0 {
			return nil, errors.New("there is more than one YAML document in it")
		}
	}
	content, err := p.YAML.Unmarshal(b)
	if err != nil {
		err = fmt.Errorf("%w; want keys and values in YAML, found %s", err, filetype.Describe(b))
	}
	return content, err
}
