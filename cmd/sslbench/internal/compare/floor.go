package compare

import (
	"context"
	"strings"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// floorName is what reports call the calculated points.
const floorName = "floor"

// maxRecord is the most payload in a TLS record (RFC 8446, section 5.1).
const maxRecord = 16 << 10

// parts are what the floor of a cell is made of: libcrypto's operations for one unit, beside
// what the plain TCP echo costs (tcp).
type parts struct {
	ops []part
	tcp bool
}

type part struct {
	op    server.Op
	times float64
}

// echoParts: each message is decrypted and encrypted once, in records of at most 16 KiB.
func echoParts(c cell) parts {
	n := c.load.Size
	size := min(n, maxRecord)
	return parts{ops: []part{{server.AES256GCM(size), 2 * float64(n) / float64(size)}}, tcp: true}
}

// streamParts: of a MB that is counted in both directions each byte is decrypted or encrypted once.
func streamParts(cell) parts {
	return parts{ops: []part{{server.AES256GCM(maxRecord), 1e6 / maxRecord}}, tcp: true}
}

// handshakeParts: the signature, and two multiplications on X25519: see server.DeriveX25519.
func handshakeParts(c cell) parts {
	exchange := part{server.DeriveX25519, 2}
	sign := map[string]server.Op{"ecdsa": server.SignECDSAP256, "rsa": server.SignRSA2048, "ed25519": server.SignEd25519}
	switch {
	case strings.HasPrefix(c.label, "resumed") && c.version == "1.2":
		return parts{} // hashes only
	case strings.HasPrefix(c.label, "resumed"):
		return parts{ops: []part{exchange}}
	}
	return parts{ops: []part{{sign[c.cert], 1}, exchange}}
}

// measureFloor has openssl speed measure what the floor of an experiment needs and is not known yet.
func (r *runner) measureFloor(ctx context.Context, e *experiment) error {
	seconds := 2
	if r.Quick {
		seconds = 1
	}
	for _, c := range e.cells {
		for _, p := range e.floor(c).ops {
			if _, known := r.primitives[p.op.Name]; known {
				continue
			}
			r.report("openssl speed: " + p.op.Name)
			costs, err := server.Speed(ctx, r.Server, r.serverCore, seconds, p.op)
			if err != nil {
				return err
			}
			for _, c := range costs {
				r.primitives[c.Name] = c.Seconds
				r.data.Primitives = append(r.data.Primitives, report.Primitive{Name: c.Name, Seconds: c.Seconds})
			}
		}
	}
	return nil
}

// floorPoints calculates the floor of each cell from the measured points and the primitives. A
// cell whose TCP echo was not measured has none.
func (r *runner) floorPoints(e *experiment, measured []report.Point) []report.Point {
	var out []report.Point
	for _, c := range e.cells {
		p := e.floor(c)
		crypto := 0.0
		for _, o := range p.ops {
			crypto += r.primitives[o.op.Name] * 1e6 * o.times
		}
		point := report.Point{Server: floorName, X: c.x, Label: c.label, Calculated: true}
		if p.tcp {
			for _, m := range measured {
				if m.Server == server.CTCP && m.X == c.x {
					for _, round := range m.Rounds {
						point.Rounds = append(point.Rounds, report.Round{CPU: round.CPU + crypto})
					}
				}
			}
		} else if crypto > 0 {
			point.Rounds = []report.Round{{CPU: crypto}}
		}
		if point.Rounds != nil {
			out = append(out, point)
		}
	}
	return out
}
