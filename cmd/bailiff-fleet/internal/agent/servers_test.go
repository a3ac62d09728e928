package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/units/hub"
)

// routed is a server of a hub of several, with an address of its own on this machine.
type routed struct {
	h      *testHub
	dir    string
	server hub.Server
	cmd    *exec.Cmd
}

const monitorPort = 8222

// restart starts or restarts the server, as one of several that know each other by a password.
func (r *routed) restart(password string, servers ...hub.Server) {
	t := r.h.t
	t.Helper()
	r.stop()
	public, err := hub.NKeyPublic(r.h.admin.NKey)
	if err != nil {
		t.Fatal(err)
	}
	c := hub.Config{Fleet: "test", Servers: servers, Password: password, Admin: public, Dir: r.dir, Store: filepath.Join(r.dir, "store"), Listen: r.server.Host, Old: r.h.old()}
	if err := os.RemoveAll(c.Store); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(r.dir, "nats.conf")
	if err := os.WriteFile(conf, append(c.NATS(r.server), fmt.Sprintf("http: \"%s:%d\"\n", r.server.Host, monitorPort)...), 0o600); err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(r.h.program, "-c", conf, "-l", filepath.Join(r.dir, "log"))
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (r *routed) stop() {
	if r.cmd != nil {
		r.cmd.Process.Kill()
		r.cmd.Wait()
		r.cmd = nil
	}
}

// monitor asks the server about itself.
func (r *routed) monitor(what string, v any) error {
	answer, err := (&http.Client{Timeout: time.Minute}).Get(fmt.Sprintf("http://%s:%d/%s", r.server.Host, monitorPort, what))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// id is what other servers know the server by.
func (r *routed) id() (string, error) {
	var x struct {
		ID string `json:"server_id"`
	}
	err := r.monitor("varz", &x)
	return x.ID, err
}

// routes are the ids of the servers that a server is connected with.
func (r *routed) routes() ([]string, error) {
	var x struct {
		Routes []struct {
			ID string `json:"remote_id"`
		} `json:"routes"`
	}
	err := r.monitor("routez", &x)
	l := map[string]bool{}
	for _, route := range x.Routes {
		l[route.ID] = true
	}
	return slices.Sorted(maps.Keys(l)), err
}

// TestRemovedServer: a server that was removed from the hub has a certificate of the fleet, and still knows the others. They reject its
// connections: it cannot read what hosts send, and cannot send anything in the hub's name.
func TestRemovedServer(t *testing.T) {
	h := &testHub{t: t, program: natsServer(t), dir: t.TempDir(), admin: &hub.Admin{}}
	var err error
	if h.admin.NKey, _, err = hub.NewNKey(); err != nil {
		t.Fatal(err)
	}
	ca, _, err := hub.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	net := fmt.Sprintf("127.%d.%d.", 1+rand.N(250), rand.N(250)) // no other test's
	var all []*routed
	for i := range 4 {
		r := &routed{h: h, dir: t.TempDir(), server: hub.Server{Host: fmt.Sprint(net, 1+i), Port: hub.DefaultPort}}
		cert, key, err := ca.Server(r.server, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"ca.crt": ca.PEM, "hub.crt": cert, "hub.key": key} {
			if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(r.stop)
		all = append(all, r)
	}
	a, b, c, d := all[0], all[1], all[2], all[3]
	together := func(l ...*routed) {
		t.Helper()
		for _, r := range l {
			eventually(t, func() error {
				var want []string
				for _, other := range l {
					id, err := other.id()
					if err != nil {
						return err
					}
					if other != r {
						want = append(want, id)
					}
				}
				slices.Sort(want)
				got, err := r.routes()
				if err != nil || !slices.Equal(got, want) {
					log, _ := os.ReadFile(filepath.Join(r.dir, "log"))
					return fmt.Errorf("%s is connected with %q, want %q: %v\n%s", r.server.Host, got, want, err, log)
				}
				return nil
			})
		}
	}
	for _, r := range all[:3] {
		r.restart("0123", a.server, b.server, c.server)
	}
	together(a, b, c)
	for _, r := range []*routed{a, b, d} {
		r.restart("4567", a.server, b.server, d.server)
	}
	together(a, b, d)
	refused := func(r *routed) int {
		log, err := os.ReadFile(filepath.Join(r.dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(log), "uthentication error") + strings.Count(string(log), "uthorization")
	}
	before := refused(a) + refused(b)
	eventually(t, func() error { // it has tried since
		if refused(a)+refused(b) <= before {
			return fmt.Errorf("it does not try")
		}
		return nil
	})
	together(a, b, d)
	if got, err := c.routes(); err != nil || len(got) > 0 {
		t.Errorf("the removed server is connected with %q, %v", got, err)
	}
}
