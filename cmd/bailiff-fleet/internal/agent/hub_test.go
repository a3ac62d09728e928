package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/policy/fleet"
	"bailiff/units/hub"
)

// natsServer is the program; without it tests are skipped, but in CI.
func natsServer(t *testing.T) string {
	t.Helper()
	for _, p := range []string{os.Getenv("NATS_SERVER"), "nats-server", "/usr/sbin/nats-server"} {
		if p, err := exec.LookPath(p); err == nil {
			return p
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("nats-server is needed")
	}
	t.Skip("nats-server is not installed")
	return ""
}

// testHub is a real nats-server with the accounts of a fleet.
type testHub struct {
	t                   *testing.T
	dir                 string
	program             string
	server              hub.Server
	cmd                 *exec.Cmd
	admin               *hub.Admin
	members             map[string]*hub.Member
	op                  ed25519.PrivateKey
	trust               hub.Trust
	roster              hub.Roster
	fresh, pageInterval time.Duration // of agents; 0: as usual
	answerTime          time.Duration
	rosterInterval      time.Duration
	lookup              func(ctx context.Context, network, name string) ([]netip.Addr, error) // nil: as usual
}

// newHub starts a hub for hosts.
func newHub(t *testing.T, hosts ...string) *testHub {
	t.Helper()
	h := &testHub{t: t, program: natsServer(t), dir: t.TempDir(), members: map[string]*hub.Member{}}
	servers, ca := []string{h.place()}, h.certificates()
	pub, op, _ := ed25519.GenerateKey(nil)
	h.op, h.trust = op, hub.Trust{Number: 1, Operators: []hub.Operator{{Name: "op", Key: hub.Key(pub)}}}
	h.roster = hub.Roster{Version: 1, Fleet: "test", Serial: 1, Made: time.Now().UTC(), Servers: servers, CA: ca, Hosts: map[string]hub.RosterHost{}}
	for _, name := range hosts {
		seed, _, err := hub.NewNKey()
		if err != nil {
			t.Fatal(err)
		}
		hostPub, hostKey, _ := ed25519.GenerateKey(nil)
		h.roster.Hosts[name] = hub.RosterHost{Group: name, Keys: []hub.Key{hub.Key(hostPub)}}
		m := &hub.Member{Version: 1, Fleet: "test", Host: name, Group: name, NKey: seed, Key: hub.Key(hostKey.Seed()), Servers: servers, CA: ca, Trust: h.trust, Serial: 1}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		h.members[name] = m
	}
	seed, _, err := hub.NewNKey()
	if err != nil {
		t.Fatal(err)
	}
	h.admin = &hub.Admin{Version: 1, Fleet: "test", Servers: servers, CA: ca, NKey: seed, Replicas: 1, Trust: h.trust, Roster: *h.sign()}
	h.configure()
	h.start()
	t.Cleanup(h.stop)
	return h
}

// another starts a second hub of the same fleet, with a CA and a key of its own. No host knows it yet.
func (h *testHub) another() *testHub {
	h.t.Helper()
	seed, _, err := hub.NewNKey()
	if err != nil {
		h.t.Fatal(err)
	}
	x := *h
	x.dir = h.t.TempDir()
	admin := *h.admin
	x.admin = &admin
	admin.Servers, admin.CA, admin.NKey = []string{x.place()}, x.certificates(), seed
	x.configure()
	x.start()
	h.t.Cleanup(x.stop)
	return &x
}

// place finds a port for the server.
func (h *testHub) place() (url string) {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	defer l.Close()
	h.server = hub.Server{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	return h.server.URL()
}

// certificates makes a CA and the hub's certificate.
func (h *testHub) certificates() (ca string) {
	h.t.Helper()
	a, _, err := hub.NewAuthority("test", time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	cert, key, err := a.Server(h.server, time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("ca.crt", a.PEM)
	h.write("hub.crt", cert)
	h.write("hub.key", key)
	return string(a.PEM)
}

// store has the hub store a signed roster, unless it has a newer one.
func (h *testHub) store(s *hub.Sealed, trust hub.Trust) string {
	h.t.Helper()
	h.admin.Roster, h.admin.Trust = *s, trust
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	said, err := MakeStream(ctx, h.admin)
	if err != nil {
		h.t.Fatal(err)
	}
	return said
}

func (h *testHub) sign() *hub.Sealed {
	h.t.Helper()
	s, err := h.roster.Sign(h.op)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *testHub) write(name string, data []byte) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), data, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// stateDir is the folder of a host's agent.
func (h *testHub) stateDir(host string) string {
	h.t.Helper()
	dir := filepath.Join(h.dir, "state-"+host)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// configure writes the configuration of the hub, as bailiff fleet does.
func (h *testHub) configure() {
	h.t.Helper()
	public, err := hub.NKeyPublic(h.admin.NKey)
	if err != nil {
		h.t.Fatal(err)
	}
	c := hub.Config{Fleet: "test", Servers: []hub.Server{h.server}, Admin: public, Hosts: map[string][]string{}, Dir: h.dir, Store: filepath.Join(h.dir, "store"), Listen: "127.0.0.1", Old: h.old()}
	for name, m := range h.members {
		if public, err = hub.NKeyPublic(m.NKey); err != nil {
			h.t.Fatal(err)
		}
		c.Hosts[name] = []string{public}
	}
	h.write("nats.conf", c.NATS(h.server))
}

// old reports whether the program is older than what bailiff fleet asks for.
func (h *testHub) old() bool {
	out, err := exec.Command(h.program, "--version").Output()
	if err != nil {
		h.t.Fatal(err)
	}
	return bytes.Contains(out, []byte(" v2.9."))
}

// begin starts the server.
func (h *testHub) begin() {
	h.t.Helper()
	h.cmd = exec.Command(h.program, "-c", filepath.Join(h.dir, "nats.conf"))
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := os.Create(filepath.Join(h.dir, "log"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.cmd.Stdout, h.cmd.Stderr = out, out
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
}

// start starts the server and makes its streams.
func (h *testHub) start() {
	h.t.Helper()
	h.begin()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	said, err := MakeStream(ctx, h.admin)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(h.dir, "log"))
		h.t.Fatalf("%v\n%s", err, log)
	}
	h.t.Log(said)
}

// TestNotReady: a server that waits for the others of its hub is not mistaken for one that does not answer.
func TestNotReady(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	try := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := MakeStream(ctx, h.admin)
		return err
	}
	h.stop()
	if err := try(); err == nil || errors.Is(err, ErrNotReady) {
		t.Errorf("a server that is down: %v", err)
	}
	conf, err := os.ReadFile(filepath.Join(h.dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	h.write("nats.conf", append(conf, "\nserver_name: alone\ncluster { name: test, listen: \"127.0.0.1:-1\", routes: [\"nats://127.0.0.1:1\", \"nats://127.0.0.1:2\"] }\n"...))
	h.wipe()
	h.admin.Replicas = 3
	h.begin()
	if err := try(); !errors.Is(err, ErrNotReady) {
		t.Errorf("a server without the two others: %v", err)
	}
}

func (h *testHub) stop() {
	if h.cmd != nil {
		h.cmd.Process.Kill()
		h.cmd.Wait()
		h.cmd = nil
	}
}

// wipe deletes the hub's store. The hub must be stopped.
func (h *testHub) wipe() {
	if err := os.RemoveAll(filepath.Join(h.dir, "store")); err != nil {
		h.t.Fatal(err)
	}
}

// message signs n with the key of a host.
func (h *testHub) message(host string, n *fleet.News) *nats.Msg {
	h.t.Helper()
	m, err := fleet.Sign(n, h.members[host].Key.Private())
	if err != nil {
		h.t.Fatal(err)
	}
	return h.signed(m)
}

func (h *testHub) signed(m *fleet.Message) *nats.Msg {
	return &nats.Msg{Subject: m.Subject, Data: m.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}}
}

// jetStream connects as the hub's user who may do everything.
func (h *testHub) jetStream() jetstream.JetStream {
	h.t.Helper()
	nc, err := Connect("test", h.admin.Servers, h.admin.CA, h.admin.NKey)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	natsVersion(h.t, nc)
	js, err := jetstream.New(nc)
	if err != nil {
		h.t.Fatal(err)
	}
	return js
}

// client connects as the user of a host, without an agent.
func (h *testHub) client(host string) *nats.Conn {
	h.t.Helper()
	return h.connect(h.members[host].NKey)
}

// connect connects with the seed of a user.
func (h *testHub) connect(seed string) *nats.Conn {
	h.t.Helper()
	nc, err := Connect("test", h.admin.Servers, h.admin.CA, seed)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	for begin := time.Now(); !nc.IsConnected(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			h.t.Fatalf("no connection to the hub: %v", nc.LastError())
		}
	}
	return nc
}

// publish sends messages as the user of a host and waits until the hub has stored them.
func (h *testHub) publish(host string, l ...*nats.Msg) {
	h.t.Helper()
	nc := h.client(host)
	defer nc.Close() // a host may have few connections
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, m := range l {
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			h.t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		h.t.Fatal("the hub stores no more")
	}
}
