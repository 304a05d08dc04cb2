package httpbench

import (
	"encoding/json"
	"io"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
)

// Format is the version of the JSON.
const Format = 1

// Data is everything that a Run has measured.
type Data struct {
	Format     int       `json:"format"`
	Taken      time.Time `json:"taken"`
	Quick      bool      `json:"quick"`
	Incomplete string    `json:"incomplete,omitempty"` // why it is not whole

	Commands []string       `json:"commands"` // what to type to repeat it
	Machine  report.Machine `json:"machine"`
	// Setup is what both stacks agreed on with a client: "TLSv1.3, TLS_AES_128_GCM_SHA256, x25519".
	Setup   string   `json:"setup"`
	Servers []string `json:"servers"` // the command lines
	Procs   int      `json:"gomaxprocs"`
	Loads   []Tool   `json:"loads"`

	Rounds      int    `json:"rounds"`
	RoundMillis int    `json:"round_ms"`
	Cases       []Case `json:"cases"`

	IdleConns  int    `json:"idle_connections"`
	IdleRounds int    `json:"idle_rounds"` // each with new processes
	IdleNote   string `json:"idle_note,omitempty"`
	Idle       []Case `json:"idle"`
}

// Case is one thing that was measured of both stacks, with a Point for each: CPU time for a request and requests a
// second, or bytes of memory for a connection.
type Case struct {
	ID     string         `json:"id"`
	Title  string         `json:"title"`
	Load   string         `json:"load,omitempty"` // its command line
	Metric report.Metric  `json:"metric"`
	Points []report.Point `json:"points,omitempty"`
	Failed string         `json:"failed,omitempty"` // why there are no points
	// Part: the figure is a part of another one.
	Part bool `json:"part,omitempty"`
}

// point is that of a stack, nil if there is none.
func (c *Case) point(stack string) *report.Point {
	for i := range c.Points {
		if c.Points[i].Server == stack {
			return &c.Points[i]
		}
	}
	return nil
}

// ratio is sslnet's figure by crypto/tls's, round by round.
func (c *Case) ratio() report.Ratio {
	base := c.point(CryptoTLS)
	if base == nil {
		return report.Ratio{}
	}
	return c.point(Sslnet).Ratio(base, c.Metric)
}

// JSON writes the data.
func (d *Data) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}
