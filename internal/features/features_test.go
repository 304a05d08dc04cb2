package features

import (
	"encoding/pem"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

const v30, v32, v35 = 0x300, 0x302, 0x305

// TestMissing: the first name of a list that a version lacks is told, with the version that has it.
func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		version uint32
		list    string
		want    Feature
	}{
		{v30, "X25519:P-256", Feature{}},
		{v30, "X25519:X25519MLKEM768", Feature{"X25519MLKEM768", v35}},
		{v32, "x25519mlkem768", Feature{"x25519mlkem768", v35}},
		{v30, "?MLKEM512", Feature{"MLKEM512", v35}},
		{v30, "*X25519", Feature{`"*" in a list`, v35}},
		{v30, "X25519 / P-256", Feature{`"/" in a list`, v35}},
		{v32, "?X25519", Feature{`"?" in a list`, 0x303}},
		{v30, "brainpoolP256r1tls13", Feature{"brainpoolP256r1tls13", v32}},
		{v32, "brainpoolP256r1tls13", Feature{}},
		{v35, "?*X25519MLKEM768 / *X25519:-P-256", Feature{}},
		{v30, "nonsense", Feature{}},
		{v30, "", Feature{}},
		{v30, ":/:", Feature{`"/" in a list`, v35}},
	} {
		if got := MissingGroup(tt.version, tt.list); got != tt.want {
			t.Errorf("%#x, %q: %v, want %v", tt.version, tt.list, got, tt.want)
		}
	}
	if f := MissingSignature(v35, "mldsa44"); f != (Feature{}) {
		t.Error(f)
	}
	const sm4 = "TLS_AES_128_GCM_SHA256:TLS_SM4_GCM_SM3"
	if f := MissingSuite(v35, sm4); f != (Feature{"TLS_SM4_GCM_SM3", 0x400}) {
		t.Error(f)
	}
	if f := MissingSuite(0x400, sm4); f != (Feature{}) {
		t.Error(f)
	}
	if f := MissingSignature(v30, "ECDSA+SHA256:mldsa65"); f != (Feature{"mldsa65", v35}) {
		t.Error(f)
	}
}

// An SM2 key and its certificate, from openssl genpkey -algorithm SM2 and openssl req -x509.
const (
	sm2Key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqBHM9VAYItBG0wawIBAQQgVK+UUHfhwhI1KvVR
p918eaNruCfD8uisuXl1E1Bx7lOhRANCAAR/jOfKRtujb+jzZQeA96zc888FoXJ4
sIgouzutnajRFJi/V6m48BSZeAvYTw0trHh9HBZw6IJWG/NcvbkRAE3M
-----END PRIVATE KEY-----
`
	sm2Cert = `-----BEGIN CERTIFICATE-----
MIIBfjCCASOgAwIBAgIUOfysOksqaIN/sY0YTmV2A6WYFiUwCgYIKoEcz1UBg3Uw
FDESMBAGA1UEAwwJbG9jYWxob3N0MB4XDTI2MTEzMDA5NDQxNloXDTI2MTIzMDA5
NDQxNlowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoEcz1UB
gi0DQgAEf4znykbbo2/o82UHgPes3PPPBaFyeLCIKLs7rZ2o0RSYv1epuPAUmXgL
2E8NLax4fRwWcOiCVhvzXL25EQBNzKNTMFEwHQYDVR0OBBYEFPDNdzLWKnPMS2g5
caTaqzSiHWgjMB8GA1UdIwQYMBaAFPDNdzLWKnPMS2g5caTaqzSiHWgjMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoEcz1UBg3UDSQAwRgIhAMPAscru/0JF9Wczd7xlRltL
FWKjEzNlw+Lf2ATOxgdMAiEAh3mVfL/eCZfDO5BPuH1thC1YmWhGX4KiaEumK6k9
AhE=
-----END CERTIFICATE-----
`
)

// TestMissingKey: ML-DSA and SM2 are found in certificates and keys, among others.
func TestMissingKey(t *testing.T) {
	read := func(names ...string) (all []byte) {
		for _, name := range names {
			all = append(all, testcerts.Read(t, name)...)
		}
		return all
	}
	block, _ := pem.Decode(read("mldsa44.pem"))
	block.Bytes = block.Bytes[:len(block.Bytes)/2]
	for name, tt := range map[string]struct {
		version uint32
		pem     []byte
		others  int
		want    Feature
	}{
		"certificate":     {v30, read("mldsa44.pem"), 0, Feature{"ML-DSA-44", v35}},
		"key":             {v30, read("mldsa65.key"), 0, Feature{"ML-DSA-65", v35}},
		"both":            {v30, read("mldsa87.pem", "mldsa44.pem"), 0, Feature{"ML-DSA-87", v35}},
		"3.5":             {v35, read("mldsa87.pem", "mldsa44.pem"), 2, Feature{}},
		"cut off":         {v30, pem.EncodeToMemory(block), 1, Feature{}},
		"not PEM":         {v30, []byte("garbage"), 0, Feature{}},
		"nothing":         {v30, nil, 0, Feature{}},
		"an ordinary one": {v30, read("ecdsa.pem"), 2, Feature{}},
		"SM2":             {v35, []byte(sm2Key), 0, Feature{"SM2", since40}},
		"SM2 certificate": {v30, []byte(sm2Cert + sm2Key), 0, Feature{"SM2", since40}},
		"SM2 in 4.0":      {since40, []byte(sm2Cert + sm2Key), 2, Feature{}},
		"mixed":           {v30, read("mldsa44.pem", "rsa.pem"), 2, Feature{"ML-DSA-44", v35}},
	} {
		first, others := MissingKey(tt.version, tt.pem)
		if first != tt.want || others != tt.others {
			t.Errorf("%s: %v and %d others; want %v and %d", name, first, others, tt.want, tt.others)
		}
	}
}
