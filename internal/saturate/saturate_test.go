package saturate

import (
	"math"
	"testing"
	"time"
)

// TestAdd: sums that overflow are the greatest or the least duration (P37).
func TestAdd(t *testing.T) {
	const most, least = time.Duration(math.MaxInt64), time.Duration(math.MinInt64)
	for _, c := range []struct{ a, b, want time.Duration }{
		{0, 0, 0},
		{time.Second, time.Minute, 61 * time.Second},
		{most, 0, most},
		{most, -1, most - 1},
		{most - 1, 1, most},
		{most, 1, most},
		{most, most, most},
		{most, least, -1},
		{least, 0, least},
		{least, 1, least + 1},
		{least + 1, -1, least},
		{least, -1, least},
		{least, least, least},
	} {
		if got := Add(c.a, c.b); got != c.want {
			t.Errorf("Add(%d, %d) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := Add(c.b, c.a); got != c.want {
			t.Errorf("Add(%d, %d) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
