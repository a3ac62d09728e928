package policy

import (
	"fmt"
	"testing"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// TestDistinct: all lines of a distinct pattern count once for an address within find_time; different patterns count
// separately. A jail has the limit of its filter, which the configuration can change.
func TestDistinct(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		paths      []string // one a second
		later      int      // seconds before the last
		banned     bool
	}{
		{name: "one path", paths: []string{"/.env", "/.env", "/.env", "/.env", "/.env"}},
		{name: "three secrets", paths: []string{"/.env", "/.git/config", "/.aws/credentials"}, banned: true},
		{name: "two secrets, repeated", paths: []string{"/.env", "/.git/config", "/.env", "/.git/HEAD"}},
		{name: "five kinds", paths: []string{"/wp-login.php", "/pma/", "/HNAP1", "/c99.php", "/jolokia/x"}, banned: true},
		{name: "four kinds", paths: []string{"/wp-login.php", "/pma/", "/HNAP1", "/c99.php"}},
		{name: "too late", paths: []string{"/.env", "/.git/config", "/.aws/credentials"}, later: 600},
		{name: "again after find_time", paths: []string{"/.env", "/.git/config", "/.env"}, later: 600},
		{name: "a lower limit", yaml: "{max_retry: 5}", paths: []string{"/wp-login.php", "/pma/", "/HNAP1", "/c99.php"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := config.NewBuilder()
			if c.yaml == "" {
				c.yaml = "{}"
			}
			b.Add("test.yaml", []byte("jails: {web-access: "+c.yaml+"}"))
			conf, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			g, err := New(conf, state.New())
			if err != nil {
				t.Fatal(err)
			}
			bans, now := 0, start
			for i, path := range c.paths {
				now += sec
				if i == len(c.paths)-1 {
					now += int64(c.later) * sec
				}
				o := g.Entry(&filter.Entry{Message: fmt.Appendf(nil, `203.0.113.7 - - [22/Nov/2026:22:49:57 +0000] "GET %s HTTP/1.1" 404 1 "-" "-"`, path),
					Unit: []byte("nginx.service"), Exe: []byte("/usr/sbin/nginx"), UID: 33, WholeMessage: true, Realtime: now}, jail.Ref(i+1))
				if len(o.Failures) != 1 {
					t.Fatalf("%s: %+v", path, o)
				}
				bans += len(o.Bans)
			}
			if bans > 0 != c.banned {
				t.Errorf("%d bans", bans)
			}
		})
	}
}
