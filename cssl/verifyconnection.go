package cssl

// ConnectionVerification is a connection about which the application decides
// when its handshake is done: see [Config].VerifyConnection. The application
// must call Accept or Refuse once, in the callback or later, on any goroutine.
// Further calls are ignored.
type ConnectionVerification struct {
	// State is the outcome of the handshake.
	State State
	// Server reports whether the connection is a server's.
	Server bool
	// Owner is the owner passed to [Conn.Bind].
	Owner any

	decision *decision
}

// Accept lets the connection go on.
func (v *ConnectionVerification) Accept() { v.decision.decide(nil, nil) }

// Refuse makes the connection fail. Its error wraps err.
func (v *ConnectionVerification) Refuse(err error) { v.decision.decide(nil, refusal(err)) }
