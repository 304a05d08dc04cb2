package config

import (
	"fmt"
	"slices"
	"strings"
)

// setting is a row of the table: all that is known of one setting.
type setting struct {
	name  string // of the flag and the key; see variable
	group string
	arg   string // what stands for the value in the help; empty for what is true or false
	def   string // as a variable would have it
	usage string // fits its line of the help
	more  string // sentences that the man page adds
	value value

	repeat bool   // each use of the flag is one element; otherwise its elements are joined by commas
	sep    string // between the elements of a variable, if it is no comma
	secret bool   // a wrong value may be a secret by mistake, so errors do not repeat it
	reload bool   // a running daemon can apply a new value
	act    bool   // says what to do and not how to serve: the file cannot have it
}

// groups of settings, in the order of the help.
const (
	listening = "Listening"
	serving   = "Service"
	tlsGroup  = "TLS"
	library   = "OpenSSL"
	clients   = "Clients' certificates"
	sessions  = "Sessions"
	limits    = "Limits"
	timeouts  = "Timeouts"
	proxy     = "PROXY protocol"
	watching  = "Watching"
	logs      = "Logs"
	process   = "Process"
)

// prefix of our environment variables.
const prefix = "SSLECHO_"

// foreign are the variables with our prefix that cobra reads in completions.
var foreign = []string{prefix + "ACTIVE_HELP", prefix + "COMPLETION_DESCRIPTIONS"}

// variable is the environment variable of a setting.
func variable(name string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// lookup finds a setting by its name, or is nil.
func lookup(name string) *setting {
	i := slices.IndexFunc(settings, func(s *setting) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return settings[i]
}

// names are the names of all settings for which ok answers true.
func names(ok func(*setting) bool) []string {
	var out []string
	for _, s := range settings {
		if ok(s) {
			out = append(out, s.name)
		}
	}
	return out
}

// separator is what stands between the elements of a variable.
func (s *setting) separator() string {
	if s.sep != "" {
		return s.sep
	}
	return ","
}

// split makes the elements of a list that is written as one text. Empty is a list without elements.
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

// fromVariable is the raw value, texts of a list or one text, of an environment variable or a default.
func (s *setting) fromVariable(text string) any {
	if s.value.isList() {
		return split(text, s.separator())
	}
	return text
}

// fromFlags is the raw value of a flag that was used with uses, at least once.
func (s *setting) fromFlags(uses []string) any {
	switch {
	case !s.value.isList():
		return uses[len(uses)-1]
	case len(uses) == 1 && uses[0] == "":
		return []string{}
	case s.repeat:
		return slices.Clone(uses)
	}
	var out []string
	for _, use := range uses {
		out = append(out, split(use, s.separator())...)
	}
	return out
}

// fromFile is the raw value of what YAML made of the file.
func (s *setting) fromFile(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, fmt.Errorf("there is no value: give one, or take the key out")
	case []any:
		if !s.value.isList() {
			return nil, fmt.Errorf("one value is wanted, not a list")
		}
		out := []string{}
		for _, element := range v {
			text, err := scalar(element)
			if err != nil {
				return nil, err
			}
			out = append(out, text)
		}
		return out, nil
	case map[string]any:
		if s.arg != argNames {
			return nil, fmt.Errorf("a value is wanted, not keys below it")
		}
		return fromMap(v)
	}
	text, err := scalar(v)
	if err != nil {
		return nil, err
	}
	return s.fromFlags([]string{text}), nil
}

// fromMap is the raw value of server names that are keys, with files below them.
func fromMap(m map[string]any) (any, error) {
	out := []string{}
	for name, v := range m {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		var parts []string
		for _, element := range list {
			text, err := scalar(element)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if ok && strings.Contains(text, ",") {
				return nil, fmt.Errorf("%s: the name of a file cannot contain a comma", name)
			}
			parts = append(parts, text)
		}
		out = append(out, name+"="+strings.Join(parts, ","))
	}
	slices.Sort(out)
	return out, nil
}

// scalar is the text of a value that has no parts.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("a text, a number, true or false is wanted; put other things in quotes")
}
