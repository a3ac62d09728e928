package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/host"
)

var (
	rootAt   = netip.MustParseAddr("198.51.100.60") // from where root is logged in
	bobAt    = netip.MustParseAddr("198.51.100.61") // from where an ordinary user is
	listed   = netip.MustParseAddr("198.51.100.70") // on a published list
	unlisted = netip.MustParseAddr("198.51.100.71")
)

// how returns why an address is allowed.
func (v *victim) how(t testing.TB, a netip.Addr) (w control.AllowWhy) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := v.Run(ctx, "bailiff", "allow", "why", "--json", a.String())
	if e := json.Unmarshal([]byte(out), &w); e != nil {
		t.Fatalf("bailiff allow why: %v, %v in %q", err, e, out)
	}
	if (err == nil) != w.Allowed {
		t.Errorf("bailiff allow why %s: %v for %+v", a, err, w)
	}
	return w
}

// login keeps a session with a terminal open from an address until the returned function is called.
func (v *victim) login(t *testing.T, from netip.Addr, user, key string) (logout func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := v.Attack(ctx, nil, "ssh", "-tt", "-F", "none", "-b", from.String(), "-l", user, "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", host.Victim4.String(), "sleep 3600")
		done <- err
	}()
	t.Cleanup(cancel)
	eventually(t, func() error {
		select {
		case err := <-done:
			t.Fatalf("ssh as %s: %v", user, err)
		default:
		}
		if out := v.sh(t, `ss -Htn state established dst `+from.String()+`; pgrep -u `+user+` -x sleep || :`); strings.Count(out, "\n") < 2 {
			return errors.New("no session of " + user)
		}
		return nil
	})
	return func() {
		cancel()
		<-done
	}
}

// operators: the address of a root session is not banned, whatever fails from it meanwhile. An ordinary user's session protects nothing,
// and when root logs out, the address is like any other.
func (v *victim) operators(t *testing.T) {
	v.put(t, "30-operators.yaml", "allow: {operators: {grace: 3s}}\n")
	defer v.sh(t, `rm /etc/bailiff/bailiff.d/30-operators.yaml && systemctl reload bailiff.service`)
	v.sh(t, `systemctl reload bailiff.service
		test -e /root/e2e-key || ssh-keygen -q -t ed25519 -N '' -f /root/e2e-key
		for home in /root /home/bob; do mkdir -p -m 700 $home/.ssh; cp /root/e2e-key.pub $home/.ssh/authorized_keys; done
		chown -R bob: /home/bob/.ssh`)
	logout := v.login(t, rootAt, "root", "/root/e2e-key")
	bobOut := v.login(t, bobAt, "bob", "/root/e2e-key")
	defer bobOut()

	shown := func() error {
		w := v.how(t, rootAt)
		if !w.Allowed || len(w.Entries) != 1 || w.Entries[0].Source != "operator" || w.Entries[0].Until != nil {
			return fmt.Errorf("bailiff allow why %s: %+v", rootAt, w)
		}
		// The session's number is what only logind knows.
		if s := w.Entries[0].Session; s == nil || s.User != "root" || s.Why != "root" || s.ID == "" || s.PID == 0 || time.Since(s.Since) > time.Minute {
			return fmt.Errorf("session %+v", s)
		}
		return nil
	}
	eventually(t, shown)
	v.fails(t, rootAt, 8)
	v.failsAs(t, "root", bobAt, 5) // on bob's own account it would be a device with an old password
	v.bansInKernel(t, bobAt)
	v.settled(t)
	if v.inKernel(t, rootAt) {
		t.Error("root was locked out of the host he is logged in to")
	}
	if out := v.sh(t, `bailiff allow why `+rootAt.String()); !strings.Contains(out, "root (root) is logged in over ssh since ") {
		t.Errorf("bailiff allow why:\n%s", out)
	}
	if out := v.sh(t, `bailiff allow`); !strings.Contains(out, rootAt.String()) || !strings.Contains(out, "ssh session of root") {
		t.Errorf("bailiff allow:\n%s", out)
	}
	if w := v.why(t, rootAt); w.State != "allowed" || !strings.Contains(w.Allowed[0].Comment, "ssh session of root (root)") {
		t.Errorf("why: %+v", w)
	}

	// A daemon that is started later knows it from logind.
	v.sh(t, `systemctl restart bailiff.service`)
	eventually(t, shown)

	logout()
	eventually(t, func() error {
		if w := v.how(t, rootAt); w.Allowed {
			return fmt.Errorf("still allowed: %+v", w)
		}
		return nil
	})
	v.fails(t, rootAt, 5)
	v.bansInKernel(t, rootAt)
}

const webServer = `use IO::Socket::INET;
my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8077", Listen => 5, ReuseAddr => 1) or die;
while (my $c = $l->accept) {
	while (<$c>) { last if /^\r?$/ }
	open my $f, "<", "/srv/lists/http"; local $/; my $b = <$f> // "";
	print $c "HTTP/1.1 200 OK\r\nContent-Length: ", length $b, "\r\nConnection: close\r\n\r\n$b";
	close $c; $/ = "\n";
}
`

// lists: the refresh fetches in its sandbox, as its own user, over HTTP and from a file. The daemon loads the list without a reload. An
// empty list is rejected, and the sandbox has no hole.
func (v *victim) lists(t *testing.T) {
	v.fails(t, listed, 5)
	v.bansInKernel(t, listed)
	// A web server in the host's own perl, which is in every Debian.
	v.place(t, "/srv/web.pl", webServer, 0o644)
	v.sh(t, `mkdir -p /srv/lists && printf '198.51.100.64/29 # probes\r\n' >/srv/lists/http && printf '2001:db8:77::/64\n' >/srv/lists/file
		systemd-run -q --unit=e2e-web perl /srv/web.pl; until curl -sf http://localhost:8077/ >/dev/null; do sleep 0.05; done`)
	defer v.sh(t, `systemctl stop e2e-web.service`)
	v.put(t, "40-lists.yaml", `allow:
  lists:
    probes: {url: "http://localhost:8077/", insecure: true, min_prefix: {ipv4: 29}}
    office: {url: "file:///srv/lists/file", min_prefix: {ipv6: 64}}
`)
	defer v.sh(t, `rm /etc/bailiff/bailiff.d/40-lists.yaml && systemctl reload bailiff.service`)
	v.sh(t, `systemctl reload bailiff.service`)
	if s := ask[control.Status](v, t, "status"); !strings.Contains(s.Problems.String(), "allow list office: never fetched") {
		t.Errorf("problems %q", s.Problems)
	}
	v.sh(t, `systemctl start bailiff-allow-refresh.timer; systemctl start bailiff-allow-refresh.service || { journalctl -q -u bailiff-allow-refresh.service >&2; exit 1; }`)
	defer v.sh(t, `systemctl stop bailiff-allow-refresh.timer`)
	eventually(t, func() error {
		if w := v.how(t, listed); !w.Allowed || w.Entries[0].List != "probes" || w.Entries[0].Comment != "probes" {
			return fmt.Errorf("%s: %+v", listed, w)
		}
		return nil
	})
	eventually(t, func() error {
		if v.inKernel(t, listed) {
			return errors.New("the ban stays")
		}
		return nil
	})
	if w := v.how(t, netip.MustParseAddr("2001:db8:77::1")); !w.Allowed {
		t.Errorf("%+v", w)
	}
	if s := ask[control.Status](v, t, "status"); strings.Contains(s.Problems.String(), "allow list") {
		t.Errorf("problems %q", s.Problems)
	}
	if out := v.sh(t, `stat -c '%U %a' /var/lib/bailiff-allow /var/lib/bailiff-allow/probes.list`); out != "bailiff-fetch 755\nbailiff-fetch 644\n" {
		t.Errorf("%s", out)
	}
	v.sh(t, `systemd-analyze verify --man=no /usr/lib/systemd/system/bailiff-allow-refresh.service /usr/lib/systemd/system/bailiff-allow-refresh.timer`)
	v.sh(t, `systemctl list-timers bailiff-allow-refresh.timer | grep -q bailiff-allow-refresh.service`)

	// What comes back empty is refused; the unit fails, the journal and status say why, and the list stays.
	v.sh(t, `: >/srv/lists/http; sed -i 's/checked":"20/checked":"19/' /var/lib/bailiff-allow/*.json; ! systemctl start bailiff-allow-refresh.service`)
	if es := v.entries(t, "-u", "bailiff-allow-refresh.service", "-p", "warning", "-g", "allow list probes: refused: is empty; keeping the previous list .1 entry."); len(es) != 1 {
		t.Errorf("the journal says %v", es)
	}
	eventually(t, func() error {
		if s := ask[control.Status](v, t, "status"); !strings.Contains(s.Problems.String(), "allow list probes: new version rejected: is empty; keeping the previous list (1 entry)") {
			return fmt.Errorf("problems %q", s.Problems)
		}
		return nil
	})
	if !v.how(t, listed).Allowed || v.how(t, unlisted).Allowed != true {
		t.Error("the last good list is gone")
	}
	if es := v.entries(t, "_SYSTEMD_UNIT=bailiff.service", "BAILIFF_LIST=probes"); len(es) != 2 {
		t.Errorf("audit entries: %v", es)
	}

	// The sandbox: the unit's own settings, except for the command and for settings that this systemd does not know. In a unit file it only
	// warns of those; systemd-run fails.
	props := strings.Fields(v.sh(t, `systemctl cat bailiff-allow-refresh.service | sed -n '/^\[Service\]/,/^\[/p' | grep -E '^[A-Z][A-Za-z]+=' | grep -vE '^(Type|ExecStart|TimeoutStartSec|SystemCallFilter)=' | tr ' ' '\037'`))
	for i := range props {
		props[i] = strings.ReplaceAll(props[i], "\037", " ")
	}
	if v.suite == "bullseye" {
		props = slices.DeleteFunc(props, func(p string) bool {
			return strings.HasPrefix(p, "SocketBindDeny=") || strings.HasPrefix(p, "PrivateIPC=")
		}) // systemd 249, 248
	}
	out, err := v.Unit(t.Context(), props, "/bin/sh", "-c", `id -un; grep CapBnd /proc/self/status
		for f in /run/bailiff/control /var/lib/bailiff/state /var/log/journal /etc/shadow /proc/1/environ; do test -r $f && echo "reads $f"; done
		for f in /etc/bailiff/x /srv/lists/x /tmp/../var/lib/x; do touch $f 2>/dev/null && echo "writes $f"; done
		curl -sS --max-time 2 --unix-socket /run/bailiff/control http://bailiff/v1/status >/dev/null 2>&1 && echo asks the daemon; :`)
	if err != nil || out != "bailiff-fetch\nCapBnd:\t0000000000000000\n" {
		t.Errorf("in the sandbox: %v\n%s", err, out)
	}
}
