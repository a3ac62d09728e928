package firewalld

import (
	"os"
	"testing"

	"bailiff/firewall/contract"
)

// TestMain plays the remote side of the contract, too.
func TestMain(m *testing.M) { os.Exit(contract.Main(m)) }
