package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
)

// value connects a setting with its field of Config.
type value interface {
	// set reads the texts, exactly one unless it is a list. Its error is a *badValue.
	set(c *Config, texts []string) error
	// plain is the field as YAML has it: what set reads back after it went through a file.
	plain(c *Config) any
	copy(to, from *Config)
	isList() bool
	// names are all values, if they have names.
	names() []string
}

// badValue is a text that is no value of its setting, and what would be.
type badValue struct {
	text string
	err  error
}

func (e *badValue) Error() string { return fmt.Sprintf("%q: %v", e.text, e.err) }
func (e *badValue) Unwrap() error { return e.err }

// one is a setting with one value.
type one[T any] struct {
	at      func(*Config) *T
	parse   func(string) (T, error)
	show    func(T) any
	choices []string
}

func (v one[T]) set(c *Config, texts []string) error {
	x, err := v.parse(texts[0])
	if err != nil {
		return &badValue{texts[0], err}
	}
	*v.at(c) = x
	return nil
}

func (v one[T]) plain(c *Config) any   { return v.show(*v.at(c)) }
func (v one[T]) copy(to, from *Config) { *v.at(to) = *v.at(from) }
func (v one[T]) isList() bool          { return false }
func (v one[T]) names() []string       { return v.choices }

// many is a setting with a list of values.
type many[T any] struct {
	at    func(*Config) *[]T
	parse func(string) (T, error)
	show  func([]T) any
}

func (v many[T]) set(c *Config, texts []string) error {
	var list []T
	for _, text := range texts {
		x, err := v.parse(text)
		if err != nil {
			return &badValue{text, err}
		}
		list = append(list, x)
	}
	*v.at(c) = list
	return nil
}

func (v many[T]) plain(c *Config) any   { return v.show(*v.at(c)) }
func (v many[T]) copy(to, from *Config) { *v.at(to) = *v.at(from) }
func (v many[T]) isList() bool          { return true }
func (v many[T]) names() []string       { return nil }

func asIs[T any](x T) any { return x }

// each shows a list by its elements' texts.
func each[T any](show func(T) string) func([]T) any {
	return func(list []T) any {
		out := make([]string, len(list))
		for i, x := range list {
			out[i] = show(x)
		}
		return out
	}
}

func anyText(s string) (string, error) { return s, nil }

// text is any text.
func text(at func(*Config) *string) value {
	return one[string]{at: at, parse: anyText, show: asIs[string]}
}

// texts is a list of any texts.
func texts(at func(*Config) *[]string) value {
	return many[string]{at: at, parse: anyText, show: each(strings.Clone)}
}

// fileName is the name of a file, or nothing.
func fileName(at func(*Config) *string) value {
	return one[string]{at: at, parse: parseFile, show: asIs[string]}
}

// fileNames is a list of names of files. An element may be empty: Validate knows where.
func fileNames(at func(*Config) *[]string) value {
	return many[string]{at: at, parse: parseFile, show: each(strings.Clone)}
}

// toggle is true or false.
func toggle(at func(*Config) *bool) value {
	return one[bool]{at: at, show: asIs[bool], choices: []string{"true", "false"}, parse: func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return false, errors.New("use true or false")
		}
		return b, nil
	}}
}

// number is a whole number. meaning, which may be empty, says what 0 does if it is not a number like the others.
func number(at func(*Config) *int, lo, hi int, meaning string) value {
	want := fmt.Errorf("use a whole number from %d to %d", lo, hi)
	if meaning != "" {
		want = fmt.Errorf("use a whole number from 1 to %d, or 0 for %s", hi, meaning)
	}
	return one[int]{at: at, show: asIs[int], parse: func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return 0, want
		}
		return n, nil
	}}
}

// rate is a number a second.
func rate(at func(*Config) *float64, hi float64) value {
	return one[float64]{at: at, show: asIs[float64], parse: func(s string) (float64, error) {
		r, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(r) || r < 0 || r > hi {
			return 0, fmt.Errorf("use a number from 0 to %.0f, such as 10 or 0.5", hi)
		}
		return r, nil
	}}
}

// size is a number of bytes, at least lo, or 0 if zero is set.
func size(at func(*Config) *int64, lo int64, zero bool) value {
	return one[int64]{at: at, show: showSize, parse: func(s string) (int64, error) {
		n, err := parseSize(s)
		switch {
		case err != nil:
			return 0, err
		case n < lo && !(zero && n == 0):
			orNone := ""
			if zero {
				orNone = ", or 0 for no limit"
			}
			return 0, fmt.Errorf("use at least %v%s", showSize(lo), orNone)
		}
		return n, nil
	}}
}

// longest is what a timeout may be: sums of a few of them and of times do not overflow.
const longest = 365 * 24 * time.Hour

// longestKeepAlive is the longest that the system takes (tcp(7), TCP_KEEPIDLE).
const longestKeepAlive = math.MaxInt16 * time.Second

// duration is a time, at least lo.
func duration(at func(*Config) *time.Duration, lo time.Duration) value {
	return within(at, lo, longest)
}

// within is a time from lo to hi.
func within(at func(*Config) *time.Duration, lo, hi time.Duration) value {
	show := func(d time.Duration) any { return d.String() }
	return one[time.Duration]{at: at, show: show, parse: func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return 0, errors.New("use a number with its unit, such as 500ms, 10s or 5m")
		case d < lo:
			return 0, fmt.Errorf("use a time of at least %v", lo)
		case d > hi:
			return 0, fmt.Errorf("use a time of at most %v", hi)
		}
		return d, nil
	}}
}

// named is one of some values with names.
type named[T any] struct {
	name  string
	value T
}

// choice is one of the options.
func choice[T comparable](at func(*Config) *T, options ...named[T]) value {
	var names []string
	for _, o := range options {
		names = append(names, o.name)
	}
	return one[T]{
		at:      at,
		choices: names,
		parse: func(s string) (T, error) {
			i := slices.Index(names, s)
			if i < 0 {
				var none T
				return none, errors.New("use " + either(names))
			}
			return options[i].value, nil
		},
		show: func(x T) any {
			if i := slices.IndexFunc(options, func(o named[T]) bool { return o.value == x }); i >= 0 {
				return names[i]
			}
			return fmt.Sprint(x)
		},
	}
}

// either is "a, b or c".
func either(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// version is a TLS version, or nothing for the library's choice.
func version(at func(*Config) *cssl.TLSVersion) value {
	short := map[cssl.TLSVersion]string{0: "", cssl.TLS10: "1.0", cssl.TLS11: "1.1", cssl.TLS12: "1.2", cssl.TLS13: "1.3"}
	return one[cssl.TLSVersion]{
		at:      at,
		choices: []string{short[cssl.TLS10], short[cssl.TLS11], short[cssl.TLS12], short[cssl.TLS13]},
		parse: func(s string) (cssl.TLSVersion, error) {
			v, err := cssl.ParseTLSVersion(s)
			if err != nil {
				return 0, errors.New("use 1.0, 1.1, 1.2 or 1.3")
			}
			return v, nil
		},
		show: func(v cssl.TLSVersion) any { return short[v] },
	}
}

// service is the name of one of services.All.
func service(at func(*Config) *string) value {
	var names []string
	for _, s := range services.All {
		names = append(names, s.Name)
	}
	return one[string]{at: at, show: asIs[string], choices: names, parse: func(s string) (string, error) {
		_, err := services.Named(s)
		return s, err
	}}
}
