// Command cryptotls is the server that docs/guide/cryptotls.md begins with.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 5 {
		log.Fatalf("usage: %s ADDRESS CHAIN.pem KEY.pem CLIENT-CAS.pem", os.Args[0])
	}
	addr, chain, key, cas := os.Args[1], os.Args[2], os.Args[3], os.Args[4]

	var cert atomic.Pointer[tls.Certificate]
	load := func() {
		c, err := tls.LoadX509KeyPair(chain, key)
		if err != nil {
			log.Print(err) // the old one stays
			return
		}
		cert.Store(&c)
	}
	load()
	pem, err := os.ReadFile(cas)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) || cert.Load() == nil {
		log.Fatal("cannot start: ", err)
	}
	conf := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.Load(), nil },
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      pool,
		NextProtos:     []string{"h2", "http/1.1"},
	}

	srv := &http.Server{Addr: addr, TLSConfig: conf, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "stranger"
		if len(r.TLS.VerifiedChains) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "Hello, %s. This is %s.\n", name, r.Proto)
	})

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for <-signals == syscall.SIGHUP {
			load()
		}
		_ = srv.Shutdown(context.Background())
	}()

	err = srv.ListenAndServeTLS("", "")
	if !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-done
}
