package e2e

import (
	"strings"
	"testing"
)

// memberKeys: a host keeps its file encrypted where systemd can do that, and says so where it cannot. bailiff-fleet starts with it
// either way. No hub answers here.
func (v *victim) memberKeys(t *testing.T) {
	v.sh(t, `bailiff fleet init /root/keys --server 192.0.2.1 web1`)
	const file = `/root/keys/hosts/web1.json`
	seed := strings.TrimSpace(v.sh(t, `sed -n 's/.*"nkey": "\(.*\)".*/\1/p' `+file))
	if !strings.HasPrefix(seed, "SU") {
		t.Fatalf("the file has no seed: %q", seed)
	}
	// join returns what it says. The hub does not answer, so it fails at last, with the unit running.
	join := func(args string) string {
		t.Helper()
		out, err := v.Sh(t.Context(), `bailiff fleet join --wait 100ms `+args+` 2>&1`)
		if err == nil || !strings.Contains(out+err.Error(), "it is not connected to the hub yet") {
			t.Fatalf("join %s: %s, %v", args, out, err)
		}
		v.sh(t, `systemctl is-active bailiff-fleet.service`) // Type=notify: it has read its file
		return out + err.Error()
	}
	in := func(dirs string) string { return v.sh(t, `grep -rls `+seed+` `+dirs+` || :`) }
	const kept, plain = "/etc /var /run/systemd", "/etc/bailiff/fleet.json\n"

	said := join(file)
	if encrypts := v.suite != "bullseye"; encrypts {
		if strings.Contains(said, "unencrypted") || in(kept) != "" {
			t.Errorf("the seed is in %q: %s", in(kept), said)
		}
		if got := v.sh(t, `stat -c %a /etc/bailiff/fleet.cred; grep -c `+seed+` /run/credentials/bailiff-fleet.service/fleet`); got != "600\n1\n" {
			t.Error(got)
		}
		// Another fleet's file is still refused, since it can be read.
		v.sh(t, `bailiff fleet init /root/other --server 192.0.2.1 b`)
		if out, err := v.Sh(t.Context(), `bailiff fleet join /root/other/hosts/b.json`); err == nil || !strings.Contains(out+err.Error(), "this host is web1 of fleet keys") {
			t.Errorf("%s, %v", out, err)
		}
		// New keys replace the old ones; no copy of either is left in plain text.
		v.sh(t, `bailiff fleet rotate /root/keys web1`)
		old := seed
		seed = strings.TrimSpace(v.sh(t, `sed -n 's/.*"nkey": "\(.*\)".*/\1/p' `+file))
		before := v.sh(t, `sha256sum /etc/bailiff/fleet.cred`)
		join(file)
		if seed == old || in(kept) != "" || v.sh(t, `sha256sum /etc/bailiff/fleet.cred`) == before {
			t.Error("the new keys are not installed, or in plain text")
		}
		join("--plain " + file)
		if got := in(kept) + v.sh(t, `ls /etc/bailiff/fleet.cred /etc/systemd/system/bailiff-fleet.service.d 2>/dev/null || :`); got != plain {
			t.Errorf("--plain: %q", got)
		}
		// systemd-creds fails: the file is kept as it was before systemd 250.
		said = v.sh(t, `mount --bind /bin/false /usr/bin/systemd-creds`) + join(file) + v.sh(t, `umount /usr/bin/systemd-creds`)
	}
	if got := in(kept); !strings.Contains(said, "this host's keys are kept unencrypted in /etc/bailiff/fleet.json, which only root can read: ") || got != plain {
		t.Errorf("not encrypted: the seed is in %q: %s", got, said)
	}
	if v.suite != "bullseye" {
		join(file)
		if in(kept) != "" {
			t.Errorf("encrypted again: the seed is in %q", in(kept))
		}
		// The host's key is lost, as in a copy of its disk without it: leave still works, and so does a new file.
		v.sh(t, `mv /var/lib/systemd/credential.secret /root/`)
		if out := v.sh(t, `bailiff fleet leave`); !strings.Contains(out, "its file cannot be read") {
			t.Error(out)
		}
		v.sh(t, `mv /root/credential.secret /var/lib/systemd/`)
		join(file)
	}
	if out := v.sh(t, `bailiff fleet leave`); !strings.Contains(out, "no longer part of fleet keys") {
		t.Error(out)
	}
	if got := v.sh(t, `ls -d /etc/bailiff/fleet.* /etc/bailiff/bailiff.d/60-fleet.yaml /etc/systemd/system/bailiff-fleet.service.d 2>/dev/null || :; rm -r /root/keys /root/other 2>/dev/null || :`); got != "" {
		t.Errorf("left after leave: %s", got)
	}
}
