package server

import (
	"os"
	"path/filepath"
	"testing"
)

// TestParseSpeed: the records as OpenSSL 3.0 prints them, and what is none.
func TestParseSpeed(t *testing.T) {
	for _, test := range []struct {
		op   Op
		out  string
		want float64
	}{
		{AES256GCM(1000), "+DT:AES-256-GCM:1:1000\n+R:1:AES-256-GCM:1.0\n+H:1000\n+F:25:AES-256-GCM:2000000000.00\n", 0.5e-6},
		{SignRSA2048, "+R1:3729:2048:1.00\n+F2:2:2048:4000.000000:69438.000000\n", 0.25e-3},
		{SignECDSAP256, "+F4:3:256:50000.000000:20414.000000\n", 20e-6},
		{SignEd25519, "+F6:0:253:Ed25519:25000.000000:14705.000000\n", 40e-6},
		{DeriveX25519, "+DTP:253::ecdh:1\n+F5:22:253:40000.000000:0.000025\n", 25e-6},
	} {
		if got, err := test.op.parse(test.out); err != nil || got < test.want*0.999 || got > test.want*1.001 {
			t.Errorf("%s: %g, %v; want %g", test.op.Name, got, err, test.want)
		}
	}
	for _, bad := range []string{"", "+F5:22:253\n", "+F5:22:253:x:1\n", "+F5:22:253:0.0:1\n", "+F2:2:2048:1.0:1.0\n"} {
		if got, err := DeriveX25519.parse(bad); err == nil {
			t.Errorf("%q: %g, want an error", bad, got)
		}
	}
}

// TestSpeed: the openssl that is here gives a figure for each operation.
func TestSpeed(t *testing.T) {
	t.Parallel()
	ops := []Op{AES256GCM(64), AES256GCM(16384), SignRSA2048, SignECDSAP256, SignEd25519, DeriveX25519, DeriveP256}
	s := spec(t, Idle)
	got, err := Speed(t.Context(), Options{}, s.Core, 1, ops...)
	if err != nil || len(got) != len(ops) {
		t.Fatalf("%v, %v", got, err)
	}
	for i, c := range got {
		if c.Name != ops[i].Name || c.Seconds <= 0 || c.Seconds >= 1 {
			t.Errorf("%+v, want %s", c, ops[i].Name)
		}
	}
	if got[1].Seconds <= got[0].Seconds {
		t.Errorf("16384 bytes take no longer than 64: %v", got[:2])
	}
}

func TestSpeedFails(t *testing.T) {
	_, err := Speed(t.Context(), Options{Path: t.TempDir()}, 0, 1, DeriveX25519)
	contains(t, err, "no program openssl")
	_, err = Speed(t.Context(), Options{}, 0, 1, Op{Name: "nonsense", args: []string{"nonsense"}})
	contains(t, err, "openssl speed", "nonsense", "exit status")
	_, err = Speed(t.Context(), Options{}, 1000, 1, DeriveX25519)
	contains(t, err, "pinning to core 1000")
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "openssl"), []byte("#!/bin/sh\necho hello\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = Speed(t.Context(), Options{Path: bin}, spec(t, Idle).Core, 1, DeriveX25519)
	contains(t, err, "no result F5", "hello")
}
