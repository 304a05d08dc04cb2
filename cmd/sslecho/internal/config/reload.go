package config

import (
	"maps"
	"reflect"
)

// Reload reads the environment and the configuration file again, under the flags of the command line that c came
// from. c stays as it is, and remains in force if there is an error.
func (c *Config) Reload() (*Config, error) { return load(c.flags, c.environ) }

// Changes names the settings that differ: those that a running daemon can apply, and those that count from its next
// start. It compares settings, not what stands in the files that they name. What --check and the like say is no setting.
func Changes(old, new *Config) (applied, needRestart []string) {
	for _, s := range settings {
		switch {
		case s.act || reflect.DeepEqual(s.value.plain(old), s.value.plain(new)):
		case s.reload:
			applied = append(applied, s.name)
		default:
			needRestart = append(needRestart, s.name)
		}
	}
	return applied, needRestart
}

// Merge is what a daemon that runs with running goes on with after it has loaded another configuration: of that what it
// can apply, the rest as it was. Compare the next one with this.
func Merge(running, loaded *Config) *Config {
	merged := *loaded
	merged.sources = maps.Clone(loaded.sources)
	for _, s := range settings {
		if s.act || s.reload {
			continue
		}
		s.value.copy(&merged, running)
		merged.sources[s.name] = running.sources[s.name]
	}
	return &merged
}
