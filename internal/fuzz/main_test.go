package fuzz

import (
	"testing"

	"github.com/spacemonad/go-openssl/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }
