package blocklists

import (
	"os"
	"testing"

	"bailiff/firewall/firewalltest"
)

// TestMain runs everything in a network namespace of its own, so that no test touches the host's firewall.
func TestMain(m *testing.M) { os.Exit(firewalltest.Main(m)) }
