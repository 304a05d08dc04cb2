package compare

// MakeCertificates writes the certificates that Run measures with into dir, for other measurements: TYPE.pem and
// TYPE.key for rsa, ecdsa and ed25519, for localhost and 127.0.0.1, and root.pem, which has signed them.
func MakeCertificates(dir string) error { return makeCertificates(dir) }
