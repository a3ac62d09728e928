package firewalld

import (
	"os"
	"testing"

	"bailiff/firewall/firewalltest"
)

// TestMain acts as the remote side of the suite as well.
func TestMain(m *testing.M) { os.Exit(firewalltest.Main(m)) }
