package config

import (
	"strings"

	"github.com/agext/levenshtein"
)

// alike is how similar a name must be, from 0 to 1, to be offered for a wrong one. A common beginning counts.
const alike = 0.55

var similarity = levenshtein.NewParams().BonusThreshold(0.3).BonusPrefix(6)

// nearest is the one of names that is most like name, or empty when none is much like it.
func nearest(name string, names []string) string {
	best, found := alike, ""
	for _, n := range names {
		if m := levenshtein.Match(plainly(name), plainly(n), similarity); m > best {
			best, found = m, n
		}
	}
	return found
}

// plainly makes spellings of the same words equal.
func plainly(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(name))
}

// didYouMean is the end of an error about a wrong name, empty when no name is like it. mark stands in front of a right
// one.
func didYouMean(mark, name string, names []string) string {
	if n := nearest(name, names); n != "" {
		return ", did you mean " + mark + n + "?"
	}
	return ""
}
