package cssl

import (
	"testing"

	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/testtoken"
)

func TestMain(m *testing.M) { testmain.Run(m, testtoken.RemoveSoftHSM) }
