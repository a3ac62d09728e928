package daemon

import (
	"errors"
	"strings"
	"testing"

	"bailiff/policy/config"
	"bailiff/policy/diag"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		configured, override string
		fwd, tool, service   bool
		lack                 string
		want, why            string
	}{
		{"auto", "", true, true, true, "", "firewalld", "firewalld runs"},
		{"auto", "", false, true, false, "", "ipset", "ipset is installed"},
		{"auto", "", false, true, true, "", "nftables", "nftables.service loads"},
		{"auto", "", false, false, false, "", "nftables", "ipset is not installed"},
		{"auto", "", false, true, false, "set type hash:net", "nftables", "lacks set type hash:net"},
		{"ipset", "", true, false, true, "set type hash:net", "ipset", "as configured"},
		{"nftables", "", true, true, false, "", "nftables", "as configured"},
		{"nftables", "dryrun", true, true, false, "", "dryrun", "command line"},
		{"nftables", "auto", false, true, false, "", "ipset", "ipset is installed"},
	} {
		h := hostFacts{lacks: map[string]string{}, fwd: c.fwd, ipsetTool: func() bool { return c.tool }, nftService: func() bool { return c.service }}
		if c.lack != "" {
			h.lacks["ipset"] = c.lack
		}
		conf := config.Firewall{Backend: c.configured}
		if name, why := h.choose(conf, c.override); name != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%+v: %s, because %s", c, name, why)
		}
	}
}

// TestConfined: without netlink the backend is firewalld, running or not. Others are errors with a hint.
func TestConfined(t *testing.T) {
	h := hostFacts{lacks: map[string]string{}, confined: true}
	for backend, want := range map[string]string{"auto": "firewalld", "firewalld": "firewalld", "dryrun": "dryrun", "ipset": "", "nftables": ""} {
		be, why, err := h.open(config.Firewall{Backend: backend}, "", newScopes(&config.Config{}, nil, false))
		var bad *diag.Error
		switch {
		case want == "" && (!errors.As(err, &bad) || !strings.Contains(bad.Hint, "firewalld-only.conf")):
			t.Errorf("%s: %v", backend, err)
		case want != "" && (err != nil || be.Name() != want || !strings.Contains(why, "bailiff-netlink")):
			t.Errorf("%s: %v, because %q, %v", backend, be, why, err)
		}
		if be != nil {
			be.Close()
		}
	}
}
