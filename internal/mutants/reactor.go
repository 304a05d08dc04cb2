package main

// ofPlain are those of reactor's plain-text phase.
var ofPlain = []mutation{
	{"P61", "what comes in the clear behind STARTTLS is taken", "plain.go",
		"\t\treturn tlsio.ErrPlaintextAfterStartTLS\n", "\t\treturn nil\n"},
	{"upgrade", "what is written behind StartTLS leaves in the clear", "plain.go",
		"staged-p.clear, c.beginTLS", "0, c.beginTLS"},
	{"upgrade", "StartTLS before OnConnect is forgotten", "plain.go",
		"\tcase !p.begun:\n\t\terr = errTooEarly\n", ""},
	{"upgrade", "OnPlain is called after Pause", "plain.go",
		"c.plain.tls == nil && !c.plain.paused && ", "c.plain.tls == nil && "},
	{"upgrade", "OnPlain is called after StartTLS", "plain.go",
		"c.plain.tls == nil && !c.plain.paused && ", "!c.plain.paused && "},
	{"upgrade", "a FIN in the midst of a message is a clean end", "plain.go",
		"\tcase len(p.rest) > 0:\n\t\treturn tlsio.Result{Err: io.ErrUnexpectedEOF}\n", ""},
	{"upgrade", "the peer's first bytes do not end HandshakeTimeout", "plain.go",
		"\t\tp.due = never\n", ""},
	{"upgrade", "a Resume ends HandshakeTimeout", "plain.go",
		"if p.again = false; len(in) > 0 {", "if p.again = false; true {"},
	{"upgrade", "OnDrain is lost in the handshake", "loop.go",
		"if drain && c.session.Phase() <= session.Open {", "if drain && c.session.Phase() == session.Open {"},
	{"upgrade", "a stalled handshake keeps its place", "plain.go",
		"\t\tl.pending.add(c, l.now)\n", ""},
	{"upgrade", "the TLS side of a connection that ends in plain text leaks", "lifecycle.go",
		"\t\tc.plain.tls.Close()\n", ""},
	{"upgrade", "the greeting waits for a header that never comes", "lifecycle.go",
		"if c.plain != nil && c.header != nil {", "if false {"},
}
