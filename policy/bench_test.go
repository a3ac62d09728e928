package policy

import (
	"fmt"
	"testing"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/ledger"
)

// BenchmarkEntry judges sshd's failures of 65,536 addresses that come too seldom to be banned, of 1,024 that are banned, and
// lines that mean nothing.
func BenchmarkEntry(b *testing.B) {
	for _, c := range []struct {
		name string
		step int64
		text func(i int) string
	}{
		{"counted", 10_000, func(i int) string {
			return fmt.Sprintf("Failed password for invalid user admin%d from 198.18.%d.%d port %d ssh2", i, i>>8, i&255, i)
		}},
		{"banned", 1000, func(i int) string {
			return fmt.Sprintf("Failed password for root from 198.18.%d.%d port %d ssh2", i>>8&3, i&255, 1024+i)
		}},
		{"miss", 1000, func(i int) string {
			return fmt.Sprintf("pam_unix(sshd:session): session opened for user bob%d by (uid=0)", i)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			conf := config.Default()
			g, err := New(conf, ledger.New())
			if err != nil {
				b.Fatal(err)
			}
			entries := make([]filter.Entry, 1<<16)
			for i := range entries {
				entries[i] = filter.Entry{Message: []byte(c.text(i)), Unit: []byte("ssh.service"), Slice: []byte("system.slice"), Identifier: []byte("sshd")}
			}
			b.ReportAllocs()
			for i := range b.N {
				e := &entries[i%len(entries)]
				e.PID = uint32(1000 + i%30000)
				e.Realtime = start + int64(i)*c.step
				g.Entry(e, jail.Ref(i))
			}
		})
	}
}
