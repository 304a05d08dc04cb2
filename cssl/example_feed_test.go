package cssl_test

import (
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// Engine mode is for a transport that is no socket. Here it is a slice with a megabyte of ciphertext. Feed takes as much as there
// is room for, so what feeds and what reads take turns; a transport that ends without close_notify has been cut off.
func ExampleConn_Feed() {
	client, server, errs := pair(cssl.Config{CAFile: testcerts.Path("root.pem")},
		cssl.Config{Certificates: certificate("ecdsa")}, "localhost")
	if err := errors.Join(errs[:]...); err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	defer server.Close()

	var ciphertext []byte
	buf := make([]byte, 32<<10)
	for left, taken := 1<<20, 1; left > 0 || taken > 0; {
		r := client.Write(make([]byte, left))
		if r.Err != nil {
			log.Fatal(r.Err)
		}
		left -= r.N // 0 with WantWrite: Take first
		taken = client.Take(buf)
		ciphertext = append(ciphertext, buf[:taken]...)
	}

	got := 0
	for {
		n := server.Feed(ciphertext)
		if ciphertext = ciphertext[n:]; len(ciphertext) == 0 {
			server.FeedEOF()
		}
		r := server.Read(buf)
		for ; r.Want == tlsio.WantNone && r.Err == nil; r = server.Read(buf) {
			got += r.N
		}
		if r.Err != nil {
			fmt.Println(got, "bytes, then the end came without close_notify:", errors.Is(r.Err, io.ErrUnexpectedEOF))
			return
		}
		// WantRead: feed more
	}
	// Output: 1048576 bytes, then the end came without close_notify: true
}
