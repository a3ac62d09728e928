package nftables

import (
	"os"
	"testing"

	"bailiff/firewall/contract"
)

// TestMain runs everything in a network namespace of its own, so that no test touches the host's firewall.
func TestMain(m *testing.M) { os.Exit(contract.Main(m)) }
