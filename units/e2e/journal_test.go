package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
)

// TestJournal moves, copies and splits the journal of a host under attack: no attempt is lost, none counts twice.
func TestJournal(t *testing.T) {
	suites, tree, load := wanted(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			v := boot(t, suite, tree, load)
			// A volatile journal, as Debian has it until somebody makes /var/log/journal. A journald that writes there makes the folder again.
			v.sh(t, `printf '[Journal]\nRateLimitIntervalSec=0\n' >/etc/systemd/journald.conf.d/e2e.conf; journalctl --relinquish-var; rm -rf /var/log/journal
				systemctl restart systemd-journald.service; ls /run/log/journal/*/system.journal; systemctl enable -q --now bailiff.service`)
			v.active(t)
			for _, c := range []struct {
				name string
				run  func(*victim, *testing.T)
			}{
				{"flushed", (*victim).flushed},
				{"restored", (*victim).restored},
				{"newer", (*victim).newer},
				{"namespace", (*victim).namespace},
			} {
				t.Run(c.name, func(t *testing.T) { c.run(v, t) })
			}
		})
	}
}

var (
	flushedFriend = netip.MustParseAddr("203.0.113.31")
	spaceFriend   = netip.MustParseAddr("203.0.113.32")
	spaceAttacker = netip.MustParseAddr("198.51.100.71")
)

// counts waits until an address has that many attempts against it in the sshd jail, and all their lines are found.
func (v *victim) counts(t *testing.T, a netip.Addr, want int) {
	t.Helper()
	eventually(t, func() error { return v.counted(t, a, want, true) })
}

// counted says whether an address has that many attempts against it and, where asked, all their lines are found.
func (v *victim) counted(t *testing.T, a netip.Addr, want int, lines bool) error {
	t.Helper()
	w := v.why(t, a)
	for _, c := range w.Counted {
		if c.Jail != "sshd" || c.Window != "normal" {
			continue
		}
		for _, l := range c.Evidence {
			if lines && l.Missing != "" {
				return fmt.Errorf("a line about %s is %s", a, l.Missing)
			}
		}
		if c.Count == want {
			return nil
		}
		return fmt.Errorf("%s: %d attempts, want %d", a, c.Count, want)
	}
	return fmt.Errorf("%s: nothing counts in jail sshd: %+v", a, w)
}

// problem waits until status mentions a text, or no longer does.
func (v *victim) problem(t *testing.T, text string, there bool) {
	t.Helper()
	eventually(t, func() error {
		s := ask[control.Status](v, t, "status")
		if all := s.Problems.String(); strings.Contains(all, text) != there {
			return fmt.Errorf("status mentions %q: %v, want %v, in:\n%s", text, !there, there, all)
		}
		return nil
	})
}

// The journal becomes persistent: journald copies it from /run to /var, under other numbers, where at first nobody may read it.
func (v *victim) flushed(t *testing.T) {
	v.fails(t, flushedFriend, 3)
	v.counts(t, flushedFriend, 3)
	v.sh(t, `mkdir /var/log/journal; systemctl restart systemd-journald.service; journalctl --flush; ! ls /run/log/journal/*/system.journal
		systemctl restart bailiff.service`)
	v.active(t)
	v.problem(t, "permission denied", true)
	v.problem(t, "systemd-tmpfiles --create --prefix /var/log/journal", true)
	v.sh(t, `systemd-tmpfiles --create --prefix /var/log/journal`)
	v.problem(t, "permission denied", false)
	v.settled(t)
	if err := v.counted(t, flushedFriend, 3, false); err != nil {
		t.Errorf("flushed: %v", err)
	}
	v.sh(t, `systemctl restart bailiff.service`)
	v.active(t)
	v.settled(t)
	if err := v.counted(t, flushedFriend, 3, true); err != nil {
		t.Errorf("flushed, restarted again: %v", err)
	}
	v.fails(t, flushedFriend, 1)
	v.counts(t, flushedFriend, 4)
}

// Old journal files are missing while bailiff restarts, and come back.
func (v *victim) restored(t *testing.T) {
	v.sh(t, `journalctl --rotate; cd /var/log/journal/*/; mkdir /root/away; mv system@*.journal /root/away
		systemctl restart bailiff.service`)
	v.active(t)
	v.settled(t)
	v.sh(t, `cd /var/log/journal/*/; cp -p /root/away/* .; cp -p "$(ls /root/away/* | head -1)" system@copy.journal`)
	v.settled(t)
	if err := v.counted(t, flushedFriend, 4, false); err != nil { // their lines are known again when they are read again
		t.Error(err)
	}
	v.sh(t, `rm /var/log/journal/*/system@copy.journal; systemctl restart bailiff.service`)
	v.active(t)
	v.settled(t)
	if err := v.counted(t, flushedFriend, 4, true); err != nil {
		t.Error(err)
	}
	if v.inKernel(t, flushedFriend) {
		t.Errorf("%s is banned for four attempts", flushedFriend)
	}
}

// A file with an unknown flag is read through journalctl, which the daemon's sandbox permits.
func (v *victim) newer(t *testing.T) {
	v.sh(t, `cd /var/log/journal/*/; f=$(ls system@*.journal | head -1); cp -p "$f" /root/newer; printf '\100' | dd of=/root/newer bs=1 seek=15 conv=notrunc status=none
		cp -p /root/newer system@newer.journal`)
	v.problem(t, "journalctl cannot read it either: journalctl: exit status 1", true)
	v.sh(t, `rm /var/log/journal/*/system@newer.journal`)
	v.problem(t, "journalctl", false)
}

// sshd gets a journal namespace of its own.
func (v *victim) namespace(t *testing.T) {
	v.sh(t, `mkdir -p /etc/systemd/system/ssh.service.d; printf '[Service]\nLogNamespace=web\n' >/etc/systemd/system/ssh.service.d/ns.conf
		systemctl daemon-reload; systemctl restart ssh.service`)
	begin := time.Now().Add(-time.Second)
	v.fails(t, spaceFriend, 3)
	v.counts(t, spaceFriend, 3)
	if out := v.sh(t, `journalctl -q --namespace=web -g '`+spaceFriend.String()+`' -o cat | grep -c 'Failed password'; journalctl -q -g '`+spaceFriend.String()+`' -u ssh.service -o cat | wc -l`); out != "3\n0\n" {
		t.Errorf("in the namespace, and outside: %q, so this proves nothing", out)
	}
	v.settled(t) // in the journal without a namespace
	v.sh(t, `systemctl restart bailiff.service`)
	v.active(t)
	v.settled(t)
	if err := v.counted(t, spaceFriend, 3, true); err != nil {
		t.Errorf("restarted: %v", err)
	}
	v.fails(t, spaceFriend, 1)
	v.counts(t, spaceFriend, 4)

	// Entries written while the daemon is down count at the next start, although the other journal was read further.
	v.sh(t, `systemctl stop bailiff.service bailiff.socket`)
	v.fails(t, spaceAttacker, 5)
	v.sh(t, `journalctl --sync --namespace=web; systemctl start bailiff.service`)
	v.active(t)
	v.bansInKernel(t, spaceAttacker)
	w := v.why(t, spaceAttacker)
	if len(w.Bans) != 1 || len(w.Bans[0].Evidence) == 0 || !strings.Contains(w.Bans[0].Evidence[0].Message, spaceAttacker.String()) {
		t.Errorf("why: %+v", w)
	}
	if n := v.replayed(t, begin)[spaceAttacker]; n != 1 {
		t.Errorf("replay finds %d bans of %s, want 1", n, spaceAttacker)
	}

	v.sh(t, `chmod 700 /var/log/journal/*.web`)
	v.problem(t, ".web: permission denied", true)
	v.sh(t, `chmod 2755 /var/log/journal/*.web`)
	v.problem(t, "permission denied", false)
}
