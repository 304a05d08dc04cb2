// Package saturate adds times without overflow: "no limit" is often written as
// the greatest duration, and a sum with that must not lie in the past.
package saturate

import (
	"math"
	"time"
)

// Add returns a + b, or the greatest or least duration if the sum is beyond it.
func Add(a, b time.Duration) time.Duration {
	switch sum := a + b; {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	default:
		return sum
	}
}
