package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	port                int
	cmd                 *exec.Cmd
	admin               *hub.Admin
	members             map[string]*hub.Member
	op                  ed25519.PrivateKey
	roster              hub.Roster
	fresh, listInterval time.Duration // of agents; 0: as usual
	answerTime          time.Duration
}

// newHub starts a hub for hosts.
func newHub(t *testing.T, hosts ...string) *testHub {
	t.Helper()
	h := &testHub{t: t, program: natsServer(t), dir: t.TempDir(), members: map[string]*hub.Member{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	ca := h.certificates()
	servers := []string{hub.ServerURL("127.0.0.1", h.port)}
	pub, op, _ := ed25519.GenerateKey(nil)
	h.op = op
	h.roster = hub.Roster{Version: 1, Fleet: "test", Serial: 1, Made: time.Now().UTC(), Hosts: map[string]hub.RosterHost{}}
	users := map[string]string{}
	for _, name := range hosts {
		seed, public, err := hub.NewNKey()
		if err != nil {
			t.Fatal(err)
		}
		hostPub, hostKey, _ := ed25519.GenerateKey(nil)
		users[name] = public
		h.roster.Hosts[name] = hub.RosterHost{Group: name, Keys: []hub.Key{hub.Key(hostPub)}}
		h.members[name] = &hub.Member{Version: 1, Fleet: "test", Host: name, Group: name, Servers: servers, CA: ca, NKey: seed, Key: hub.Key(hostKey.Seed()),
			Operators: []hub.Operator{{Name: "op", Key: hub.Key(pub)}}}
	}
	sealed := h.sign()
	for _, m := range h.members {
		m.Roster = *sealed
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	}
	seed, public, err := hub.NewNKey()
	if err != nil {
		t.Fatal(err)
	}
	h.admin = &hub.Admin{Version: 1, Fleet: "test", Servers: servers, CA: ca, NKey: seed, Replicas: 1, Roster: *sealed}
	h.configure(public, hosts, users)
	h.start()
	t.Cleanup(h.stop)
	return h
}

func (h *testHub) sign() *hub.Sealed {
	h.t.Helper()
	s, err := h.roster.Sign(h.op)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// certificates makes a CA and the hub's certificate.
func (h *testHub) certificates() (ca string) {
	h.t.Helper()
	caKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &caKey.PublicKey, caKey)
	if err != nil {
		h.t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, caKey)
	if err != nil {
		h.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("hub.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}))
	h.write("hub.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (h *testHub) write(name string, data []byte) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), data, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// configure writes the configuration of the hub: an account for each host, which imports what it may call.
func (h *testHub) configure(admin string, hosts []string, users map[string]string) {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: hub\nlisten: \"127.0.0.1:%d\"\nmax_payload: 4194304\n", h.port)
	fmt.Fprintf(&b, "tls { cert_file: %q, key_file: %q, timeout: 5 }\n", filepath.Join(h.dir, "hub.crt"), filepath.Join(h.dir, "hub.key"))
	fmt.Fprintf(&b, "jetstream { store_dir: %q, max_memory_store: 16MB, max_file_store: 1GB }\n", filepath.Join(h.dir, "store"))
	all := "[H_" + strings.Join(hosts, ", H_") + "]"
	api := []string{"STREAM.INFO.BANS", "CONSUMER.CREATE.BANS.>", "CONSUMER.INFO.BANS.>", "CONSUMER.DELETE.BANS.>", "CONSUMER.MSG.NEXT.BANS.>/s",
		"DIRECT.GET.BANS/s", "DIRECT.GET.BANS.>", "DIRECT.GET.ROSTER.>"}
	fmt.Fprintf(&b, "accounts {\n FLEET { jetstream { max_file: 900MB, max_mem: 16MB, max_streams: 3, max_consumers: 64 }, users: [ { nkey: %s } ]\n exports: [ { stream: \"fleet.>\", accounts: %s },\n", admin, all)
	for _, name := range hosts {
		fmt.Fprintf(&b, "  { service: \"ban.%s.>\", accounts: [H_%[1]s] }, { service: \"count.%[1]s\", accounts: [H_%[1]s] },\n", name)
		fmt.Fprintf(&b, "  { service: \"ask.*.%s\", accounts: [H_%[1]s] }, { service: \"tell.*.%[1]s\", accounts: [H_%[1]s] },\n", name)
	}
	for _, s := range api {
		s, stream := strings.CutSuffix(s, "/s")
		kind := ""
		if stream {
			kind = "response_type: stream, "
		}
		fmt.Fprintf(&b, "  { service: \"$JS.API.%s\", %saccounts: %s },\n", s, kind, all)
	}
	b.WriteString(" ] }\n")
	for _, name := range hosts {
		fmt.Fprintf(&b, " H_%s { users: [ { nkey: %s } ]\n imports: [ { stream: { account: FLEET, subject: \"fleet.ban.>\" } }, { stream: { account: FLEET, subject: \"fleet.roster\" } },\n"+
			"  { stream: { account: FLEET, subject: \"fleet.count.*\" } }, { stream: { account: FLEET, subject: \"fleet.ask.%[1]s.*\" } }, { stream: { account: FLEET, subject: \"fleet.tell.%[1]s.*\" } },\n"+
			"  { service: { account: FLEET, subject: \"ask.*.%[1]s\" } }, { service: { account: FLEET, subject: \"tell.*.%[1]s\" } }, { service: { account: FLEET, subject: \"ban.%[1]s.>\" } }, { service: { account: FLEET, subject: \"count.%[1]s\" } },\n", name, users[name])
		for _, s := range api {
			s, _ := strings.CutSuffix(s, "/s")
			fmt.Fprintf(&b, "  { service: { account: FLEET, subject: \"$JS.API.%s\" }, to: \"hub.%s\" },\n", s, s)
		}
		b.WriteString(" ] }\n")
	}
	b.WriteString("}\n")
	h.write("nats.conf", []byte(b.String()))
}

// start starts the server and makes its streams.
func (h *testHub) start() {
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
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	said, err := MakeStream(ctx, h.admin)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(h.dir, "log"))
		h.t.Fatalf("%v\n%s", err, log)
	}
	h.t.Log(said)
}

func (h *testHub) stop() {
	if h.cmd != nil {
		h.cmd.Process.Kill()
		h.cmd.Wait()
		h.cmd = nil
	}
}

// wipe takes the hub's store away. It must be stopped.
func (h *testHub) wipe() {
	if err := os.RemoveAll(filepath.Join(h.dir, "store")); err != nil {
		h.t.Fatal(err)
	}
}

// message signs news by the key of a host.
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

// client connects by the user of a host, without an agent.
func (h *testHub) client(host string) *nats.Conn {
	h.t.Helper()
	m := h.members[host]
	nc, err := Connect("test", m.Servers, m.CA, m.NKey)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	for !nc.IsConnected() {
		time.Sleep(time.Millisecond)
	}
	return nc
}

// publish sends messages by the user of a host and waits until the hub has stored them.
func (h *testHub) publish(host string, l ...*nats.Msg) {
	h.t.Helper()
	js, err := jetstream.New(h.client(host), jetstream.WithPublishAsyncMaxPending(256))
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
