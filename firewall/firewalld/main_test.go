package firewalld

import (
	"os"
	"testing"

	"bailiff/firewall/firewalltest"
)

// TestMain plays the remote side of the contract, too.
func TestMain(m *testing.M) { os.Exit(firewalltest.Main(m)) }
