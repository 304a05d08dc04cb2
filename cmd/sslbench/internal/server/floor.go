package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Op is an operation of libcrypto that openssl speed can measure.
type Op struct {
	Name string // such as "aes-256-gcm, 1024 bytes" or "sign rsa2048"

	args   []string
	record string  // of openssl speed -mr, with the result
	field  int     // of that record, split at colons: the rate
	units  float64 // of the rate, in one operation
}

// The operations of a full handshake with an ephemeral key exchange, on the server's side. What a TLS 1.3
// server computes at the least is one signature, one key generation and one derivation:
//
//	sign KEY + 2 × derive x25519
//
// since to make an X25519 key is a scalar multiplication too and costs about what a derivation does (on the
// machine where this was tried, 27 µs beside 29 µs). openssl speed has no figure for it. For P-256, whose
// keys come from precomputed tables, the sum would be too high. The key schedule, the transcript's hash and the encryption
// of the certificate are left out; so it is a floor.
var (
	SignRSA2048   = signature("rsa2048", "+F2:", 3)
	SignECDSAP256 = signature("ecdsap256", "+F4:", 3)
	SignEd25519   = signature("ed25519", "+F6:", 4)
	DeriveX25519  = derivation("x25519")
	DeriveP256    = derivation("p256")
)

func signature(key, record string, field int) Op {
	return Op{Name: "sign " + key, args: []string{key}, record: record, field: field, units: 1}
}

func derivation(curve string) Op {
	return Op{Name: "derive " + curve, args: []string{"ecdh" + curve}, record: "+F5:", field: 3, units: 1}
}

// AES256GCM is the encryption of a record with that many bytes by TLS 1.3's default cipher. To decrypt costs the same.
func AES256GCM(size int) Op {
	return Op{
		Name:   fmt.Sprintf("aes-256-gcm, %d bytes", size),
		args:   []string{"-aead", "-evp", "aes-256-gcm", "-bytes", strconv.Itoa(size)},
		record: "+F:",
		field:  3, // in bytes a second
		units:  float64(size),
	}
}

// Cost is what one operation takes.
type Cost struct {
	Name    string
	Seconds float64 // of CPU time
}

// Speed runs openssl speed for each operation, on the given core, for that many seconds each (twice that
// for a signature, as its verification is measured along with it).
func Speed(ctx context.Context, o Options, core, seconds int, ops ...Op) ([]Cost, error) {
	path, err := o.lookup("openssl", "openssl")
	if err != nil {
		return nil, err
	}
	costs := make([]Cost, 0, len(ops))
	for _, op := range ops {
		argv := append([]string{path, "speed", "-mr", "-seconds", strconv.Itoa(seconds)}, op.args...)
		out, err := runPinned(ctx, core, argv)
		if err != nil {
			return nil, fmt.Errorf("openssl %s: %w", strings.Join(argv[1:], " "), err)
		}
		s, err := op.parse(out)
		if err != nil {
			return nil, fmt.Errorf("openssl %s: %w%s", strings.Join(argv[1:], " "), err, quoted(out))
		}
		costs = append(costs, Cost{Name: op.Name, Seconds: s})
	}
	return costs, nil
}

// parse finds the rate in what openssl speed printed and answers the seconds for one operation.
func (op Op) parse(out string) (float64, error) {
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, op.record) {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) <= op.field {
			break
		}
		rate, err := strconv.ParseFloat(f[op.field], 64)
		if err != nil || rate <= 0 {
			return 0, fmt.Errorf("%q is no rate", f[op.field])
		}
		return op.units / rate, nil
	}
	return 0, fmt.Errorf("no result %s with a field %d", strings.Trim(op.record, "+:"), op.field)
}

// runPinned runs a program to its end on one core, and answers its standard output.
func runPinned(ctx context.Context, core int, argv []string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // see launch
		if err := pinThread(core); err != nil {
			done <- err
			return
		}
		done <- cmd.Run()
	}()
	if err := <-done; err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("%w%s", err, quoted(errs.String()))
		}
		return "", err
	}
	return out.String(), nil
}
