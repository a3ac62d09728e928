package policy

import (
	"testing"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/state"
)

// TestDispatch: a jail sees an entry once, whether it watches its unit, slice, container or several of them. Entries that it
// rejects in its units are counted.
func TestDispatch(t *testing.T) {
	c := config.Default()
	for i := range c.Jails {
		if j := &c.Jails[i]; j.Name == "dovecot" {
			j.Filter = j.Filter.With(filter.Additions{
				Units: []string{"dovecot.service", "mail.service", "system-mail.slice"}, Containers: []string{"front"},
				UserUnits: []filter.UserUnit{{UID: 1000, Name: "mail.service"}},
			})
		}
	}
	g, err := New(c, state.New())
	if err != nil {
		t.Fatal(err)
	}
	refused := uint64(0)
	for i, x := range []struct {
		e       filter.Entry
		hits    int
		refused bool
	}{
		{filter.Entry{Unit: []byte("dovecot.service")}, 1, false},
		{filter.Entry{Unit: []byte("mail.service"), Slice: []byte("system-mail.slice"), Relay: filter.Vouched, Container: []byte("front"), ContainerTag: []byte("front")}, 1, false},
		{filter.Entry{Unit: []byte("mail@1.service"), Slice: []byte("system-mail.slice"), Relay: filter.Vouched, Container: []byte("front")}, 1, false},
		{filter.Entry{Unit: []byte("docker.service"), Relay: filter.Vouched, Container: []byte("front")}, 1, false},
		{filter.Entry{Unit: []byte("docker.service"), Relay: filter.Vouched, Container: []byte("back")}, 0, false},
		{filter.Entry{Unit: []byte("docker.service"), Relay: filter.Forwarded, Container: []byte("front")}, 0, false},
		{filter.Entry{Unit: []byte("user@1000.service"), UserUnit: []byte("mail.service"), UID: 1000}, 1, false},
		{filter.Entry{Unit: []byte("user@1000.service"), UserUnit: []byte("other.service"), UID: 1000}, 0, false},
		{filter.Entry{Unit: []byte("mail.service"), Relay: filter.Vouched, Container: []byte("back")}, 0, true},
	} {
		x.e.Message = []byte("imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<bob>, method=PLAIN, rip=198.51.100.8, lip=192.0.2.1, TLS, session=<x>")
		x.e.PID, x.e.Realtime = uint32(i+1), start+int64(i)
		if o := g.Entry(&x.e, 1); o.Hits != x.hits {
			t.Errorf("%+v: %d jails took it", x.e, o.Hits)
		}
		if x.refused {
			refused++
		}
		for _, j := range g.Jails() {
			if j.Name == "dovecot" && j.Refused.Entries != refused {
				t.Errorf("%+v: refused %+v", x.e, j.Refused)
			}
		}
	}
}

// TestDispatchLines: a pattern for whole messages only matches no line of a stream, whatever wrote the line.
func TestDispatchLines(t *testing.T) {
	c := config.Default()
	for i := range c.Jails {
		j := &c.Jails[i]
		j.Enabled = j.Name == "gitlab"
	}
	g, err := New(c, state.New())
	if err != nil {
		t.Fatal(err)
	}
	for i, whole := range []bool{false, true} {
		e := filter.Entry{
			Message: []byte(`Failed Login: username=bob ip=198.51.100.8`), Unit: []byte("gitlab-puma.service"), Slice: []byte("system.slice"),
			UID: 998, PID: uint32(i + 1), Realtime: start + int64(i), WholeMessage: whole,
		}
		if o := g.Entry(&e, 1); o.Hits != i {
			t.Errorf("whole message %v: %d jails took it", whole, o.Hits)
		}
	}
}
