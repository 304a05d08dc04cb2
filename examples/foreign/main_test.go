package main

import (
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

func TestForeignEcho(t *testing.T) { exampletest.Echo(t, run) }
