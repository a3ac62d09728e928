// Package hub defines the files that make hosts a fleet: Member is the one file that a host gets, Roster is the signed list of hosts that
// every host trusts, Admin is what the hub needs. `bailiff fleet` writes them, bailiff-fleet reads them. The package speaks no network
// protocol: it reads, writes and checks.
//
// Every file is JSON and read strictly: an unknown key, a wrong type or anything after the object is an error, and so is a file that is too
// large. Start reading at Member.
package hub

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strconv"

	"bailiff/policy/fleet"
	"bailiff/units/atomicfile"
)

const (
	// MemberFile is where a host keeps its Member file, readable by root only, if it is not encrypted. systemd passes it to
	// bailiff-fleet.service as the credential "fleet". It is not in /etc/bailiff/credentials, which bailiff-report.service gets whole.
	MemberFile = "/etc/bailiff/fleet.json"

	// Credential is the name of the file in $CREDENTIALS_DIRECTORY.
	Credential = "fleet"

	// DefaultPort is the port of a server whose address names none.
	DefaultPort = 4222

	// ExitNotReady is the exit status of `bailiff-fleet stream` if servers of the hub answer, but have to find each other before they do
	// what was asked for (EX_TEMPFAIL of sysexits.h).
	ExitNotReady = 75

	version    = 1
	secretMode = 0o600

	maxMember  = 64 << 10 // bytes of a Member file
	maxAdmin   = 4 << 20  // bytes of an Admin file
	maxServers = 16
	maxKeys    = 4 // of a host
)

// MaxOperators is how many operators a fleet may have.
const MaxOperators = 8

// Member is what a host needs to belong to a fleet. It holds secrets.
type Member struct {
	Version int    `json:"version"` // 1
	Fleet   string `json:"fleet"`   // name
	Host    string `json:"host"`    // name, as in subjects
	Group   string `json:"group"`   // which has one vote
	NKey    string `json:"nkey"`    // seed of the host's NATS user, "SU…"
	Key     Key    `json:"key"`     // seed of the host's signing key

	// The rest is as of when the file was made. What is true now is in the hub's roster.
	Servers []string `json:"servers"` // tls://HOST:PORT
	CA      string   `json:"ca"`      // PEM
	Trust   Trust    `json:"trust"`
	Serial  uint64   `json:"serial"` // of the roster: no earlier one is accepted
}

// Admin is what the hub needs to make the stream and to publish the roster. It holds a secret.
type Admin struct {
	Version  int      `json:"version"` // 1
	Fleet    string   `json:"fleet"`
	Servers  []string `json:"servers"` // tls://HOST:PORT
	CA       string   `json:"ca"`      // PEM
	NKey     string   `json:"nkey"`    // seed of the NATS user that may do everything in the account of the fleet, "SU…"
	Replicas int      `json:"replicas"`
	Trust    Trust    `json:"trust"` // who have signed the roster
	Roster   Sealed   `json:"roster"`
}

// Key is an ed25519 public key or the seed of a private one: 32 bytes, base64 in JSON.
type Key []byte

// Public returns the key as a public key.
func (k Key) Public() ed25519.PublicKey { return ed25519.PublicKey(k) }

// Private returns the private key with this seed.
func (k Key) Private() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k) }

func (k Key) check(what string) error {
	if len(k) != ed25519.SeedSize {
		return fmt.Errorf("%s: %d bytes, not %d", what, len(k), ed25519.SeedSize)
	}
	return nil
}

// ReadMember reads and checks a Member file. Errors name the file and the key.
func ReadMember(file string) (*Member, error) {
	data, err := atomicfile.Read(file, maxMember, 0)
	if err != nil {
		return nil, err
	}
	m, err := ParseMember(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// ParseMember reads and checks the content of a Member file. Errors name the key.
func ParseMember(data []byte) (*Member, error) {
	m := new(Member)
	if err := decode(data, m); err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	return m, nil
}

// ReadAdmin reads and checks an Admin file. Errors name the file and the key.
func ReadAdmin(file string) (*Admin, error) {
	data, err := atomicfile.Read(file, maxAdmin, 0)
	if err != nil {
		return nil, err
	}
	a := new(Admin)
	if err = decode(data, a); err == nil {
		err = a.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}

// Write writes the file with mode 0600.
func (m *Member) Write(file string) error { return write(file, m, secretMode) }

// Write writes the file with mode 0640: the user of nats-server reads it.
func (a *Admin) Write(file string) error { return write(file, a, 0o640) }

func write(file string, v any, mode fs.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(file, append(data, '\n'), mode)
}

// decode reads one JSON object, strictly.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("not a file of a fleet: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("not a file of a fleet: something follows the JSON object")
	}
	return nil
}

// Check reports the first thing that is wrong with a file.
func (m *Member) Check() error {
	if err := checkCommon(m.Version, m.Fleet, m.NKey); err != nil {
		return err
	}
	if err := checkHub(m.Servers, m.CA); err != nil {
		return err
	}
	switch {
	case !fleet.ValidHost(m.Host):
		return fmt.Errorf("host: %q is not the name of a host", m.Host)
	case !fleet.ValidHost(m.Group):
		return fmt.Errorf("group: %q is not the name of a group", m.Group)
	case m.Serial == 0:
		return errors.New("serial: missing")
	}
	if err := m.Trust.Check(); err != nil {
		return err
	}
	return m.Key.check("key")
}

// Check reports the first thing that is wrong with a file, its roster's signature included.
func (a *Admin) Check() error {
	if err := checkCommon(a.Version, a.Fleet, a.NKey); err != nil {
		return err
	}
	if err := checkHub(a.Servers, a.CA); err != nil {
		return err
	}
	if err := a.Trust.Check(); err != nil {
		return err
	}
	if a.Replicas < 1 || a.Replicas > 5 || a.Replicas%2 == 0 {
		return fmt.Errorf("replicas: %d, not 1, 3 or 5", a.Replicas)
	}
	_, _, err := a.Trust.Open(a.Fleet, &a.Roster)
	return err
}

func checkCommon(v int, name, nkey string) error {
	if v != version {
		return fmt.Errorf("version: %d, not %d: made by another version of bailiff", v, version)
	}
	if !fleet.ValidHost(name) {
		return fmt.Errorf("fleet: %q is not the name of a fleet", name)
	}
	if _, err := NKeyPublic(nkey); err != nil {
		return fmt.Errorf("nkey: %w", err)
	}
	return nil
}

// checkHub checks how the hub is reached.
func checkHub(servers []string, ca string) error {
	if len(servers) == 0 || len(servers) > maxServers {
		return fmt.Errorf("servers: %d, not 1 to %d", len(servers), maxServers)
	}
	for i, s := range servers {
		if _, _, err := SplitServer(s); err != nil {
			return fmt.Errorf("servers[%d]: %w", i, err)
		}
	}
	if _, err := Pool(ca); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	return nil
}

// SplitServer returns host and port of tls://HOST:PORT.
func SplitServer(s string) (host string, port int, err error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "tls" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", 0, fmt.Errorf("%q is not tls://HOST:PORT", s)
	}
	port, err = strconv.Atoi(u.Port())
	if err != nil || port < 1 || port > 65535 || u.Hostname() == "" {
		return "", 0, fmt.Errorf("%q is not tls://HOST:PORT", s)
	}
	return u.Hostname(), port, nil
}

// ServerURL is the inverse of SplitServer.
func ServerURL(host string, port int) string {
	return "tls://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// Pool returns the certificates of a PEM text; at least one.
func Pool(ca string) (*x509.CertPool, error) {
	pool, rest := x509.NewCertPool(), []byte(ca)
	for n := 0; ; n++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			if n == 0 || len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("not certificates in PEM form")
			}
			return pool, nil
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil || b.Type != "CERTIFICATE" {
			return nil, errors.New("not certificates in PEM form")
		}
		pool.AddCert(c)
	}
}
