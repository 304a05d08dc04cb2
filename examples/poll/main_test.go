package main

import (
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// TestPollEcho: echo in all its forms, and clients that end in each way, over TLS 1.2 and 1.3.
func TestPollEcho(t *testing.T) { exampletest.Echo(t, run) }

// TestPollDeadlines: a handshake and a close that take too long are ended.
func TestPollDeadlines(t *testing.T) { exampletest.Deadlines(t, run) }
