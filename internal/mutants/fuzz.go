package main

// forFuzzOfCssl are for the checks of FuzzCiphertext, FuzzConfig, FuzzPEM, FuzzRecords and FuzzServerName.
var forFuzzOfCssl = []mutation{
	{"bytes", "a byte of plaintext is changed", "conn.c",
		"\tdrained = c->t.fd < 0 ?", "\tif (r.n > 0)\n\t\tbuf[r.n / 2] ^= 1;\n\tdrained = c->t.fd < 0 ?"},
	{"bytes", "a failed read answers a byte", "conn.c",
		"\tret = SSL_read_ex(c->ssl, buf, len, &n);\n",
		"\tret = SSL_read_ex(c->ssl, buf, len, &n);\n\tif (ret <= 0 && SSL_get_error(c->ssl, ret) == SSL_ERROR_SSL && c->established)\n\t\treturn progress(c, 1);\n"},
	{"bytes", "a byte of ciphertext is lost on its way in", "engine.c",
		"\tif (!cssl_bytes_append(&c->t.in, buf, len)) {\n", "\tif (!cssl_bytes_append(&c->t.in, buf, len - (len > 4000))) {\n"},
	{"spin", "every result says that input moved", "conn.go",
		"r.flags&C.CSSL_MOVED_IN != 0", "true"},
	{"leak", "a closed connection stays", "newconn.go",
		"\tC.cssl_conn_free(p)\n\tconns.Add(-1)\n", "\tC.cssl_conn_free(p)\n"},
	{"leak", "a Context that is refused stays", "build.go",
		"\t\tif err != nil && b.ptr != nil {\n", "\t\tif false {\n"},
	{"leak", "a certificate that is refused stays", "certificate.go",
		"\tif err != nil {\n\t\tC.cssl_cert_free(p)\n", "\tif err != nil {\n"},
	{"errors", "an error without its reasons", "certificate.go",
		"\treturn b.failFor(l.setting, files, err)\n", "\t_, _ = files, err\n\treturn errors.New(l.setting)\n"},
	{"errors", "a name of the server that is refused leaves the connection", "newconn.go",
		"\tif err := c.configure(x, &cfg); err != nil {\n\t\tc.Close()\n", "\tif err := c.configure(x, &cfg); err != nil {\n"},
}

// forFuzzOfSession are for FuzzActs, whose checks are those of TestExhaustive.
var forFuzzOfSession = []mutation{
	{"bytes", "a byte is lost between two writes", "queue.go",
		"\tif c.r += k; c.r < c.w {", "\tif c.r += k; c.r+1 < c.w {"},
	{"spin", "a write that wants to read is tried again at once", "run.go",
		"{ return s.want[op] == tlsio.WantNone && s.live(op) }",
		"{\n\treturn (s.want[op] == tlsio.WantNone || op == write && s.want[op] == tlsio.WantRead) && s.live(op)\n}"},
	{"stall", "input that one operation took does not free the others", "../tlsio/want.go",
		"r.In && w == WantRead || ", ""},
	{"end", "OnClose comes again", "session.go",
		"\ts.phase = Closed\n", "\ts.phase = Closed\n\ts.handler.OnClose(s.cause)\n"},
}
