package fleet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/policy/fleet"
	"bailiff/units/atomicfile"
	"bailiff/units/hub"
)

// Files of a folder. Those of hosts and servers are made from the others.
const (
	inventoryFile = "fleet.json"   // Folder, without secrets
	operatorFile  = "operator.key" // signs the roster: the key of the folder's operator
	adminFile     = "admin.key"    // seed of the NATS user of the hub itself
	caFile        = "ca.crt"
	caKeyFile     = "ca.key"
	nextFile      = "next-ca.crt" // while the hub gets new keys: see renewHub
	nextKeyFile   = "next-ca.key"
	hostsDir      = "hosts"   // NAME.json
	serversDir    = "servers" // NAME/

	secretMode   = 0o600
	maxFile      = 64 << 10
	maxInventory = 16 << 20
)

// Folder is what an operator keeps of a fleet.
type Folder struct {
	Version int              `json:"version"` // 1
	Fleet   string           `json:"fleet"`
	Trust   hub.Trust        `json:"trust"`             // operators
	Changes []hub.Sealed     `json:"changes,omitempty"` // of the operators
	Serial  uint64           `json:"serial"`            // of the latest roster
	Servers []hub.Server     `json:"servers"`
	Leaving []hub.Server     `json:"leaving,omitempty"` // servers that hosts may still be connected to
	Hosts   map[string]*Host `json:"hosts"`
	Allow   []hub.Allowed    `json:"allow,omitempty"` // on all hosts

	dir      string
	lock     *os.File
	operator ed25519.PrivateKey
	me       string         // the operator who has that key
	seed     string         // of the admin's nkey
	admin    string         // and its public key
	ca, next *hub.Authority // next is nil unless the hub gets new keys
	wrote    []string
}

// Host is a host of the fleet. Of two keys the second one is new: see Rotate.
type Host struct {
	Group string    `json:"group"`
	NKeys []string  `json:"nkeys"` // public, of its NATS users
	Keys  []hub.Key `json:"keys"`  // public, of its signatures
}

// create makes a new folder with new keys. The caller closes it.
func create(dir, name, operator string, servers []hub.Server, now time.Time) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if l, err := os.ReadDir(dir); err != nil {
		return nil, err
	} else if len(l) > 0 {
		err := fmt.Errorf("%s is not empty", dir)
		if slices.ContainsFunc(l, func(e fs.DirEntry) bool { return e.Name() == inventoryFile }) {
			return nil, cli.WithHint(fmt.Errorf("%s holds a fleet already", dir), "add hosts to it by bailiff fleet add %s HOST", dir)
		}
		return nil, err
	}
	f := &Folder{Version: 1, Fleet: name, me: operator, Servers: servers, Hosts: map[string]*Host{}, dir: dir}
	if err := f.acquire(); err != nil {
		return nil, err
	}
	if err := f.makeKeys(now); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// makeKeys makes and writes the keys of a new fleet.
func (f *Folder) makeKeys(now time.Time) error {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	f.operator, f.Trust = key, hub.Trust{Number: 1, Operators: []hub.Operator{{Name: f.me, Key: hub.Key(pub)}}}
	if err := f.newAdmin(); err != nil {
		return err
	}
	ca, caKey, err := hub.NewAuthority(f.Fleet, now)
	if err != nil {
		return err
	}
	f.ca = ca
	for _, w := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{
		{operatorFile, operatorKey(key), secretMode},
		{caKeyFile, caKey, secretMode},
		{caFile, ca.PEM, 0o644},
	} {
		if err := f.write(w.name, w.data, w.mode); err != nil {
			return err
		}
	}
	return nil
}

// operatorKey is the content of an operator's key file.
func operatorKey(key ed25519.PrivateKey) []byte {
	return []byte(base64.StdEncoding.EncodeToString(key.Seed()) + "\n")
}

// newAdmin gives the hub's own NATS user a new key.
func (f *Folder) newAdmin() (err error) {
	if f.seed, f.admin, err = hub.NewNKey(); err != nil {
		return err
	}
	return f.write(adminFile, []byte(f.seed+"\n"), secretMode)
}

// open reads a folder. The caller closes it.
func open(dir string) (*Folder, error) {
	f := &Folder{dir: dir}
	if _, err := os.Stat(filepath.Join(dir, inventoryFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, cli.WithHint(fmt.Errorf("%s holds no fleet: there is no %s", dir, inventoryFile), "make one by bailiff fleet init %s --server HOST HOST…", dir)
	}
	if err := f.acquire(); err != nil {
		return nil, err
	}
	if err := f.load(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *Folder) load() error {
	data, err := atomicfile.Read(filepath.Join(f.dir, inventoryFile), maxInventory, 0)
	if err != nil {
		return err
	}
	if err := f.decode(data); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(f.dir, inventoryFile), err)
	}
	return f.readKeys()
}

func (f *Folder) decode(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(f); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	switch {
	case f.Version != 1:
		return fmt.Errorf("version: %d, not 1: made by another version of bailiff", f.Version)
	case !fleet.ValidHost(f.Fleet):
		return fmt.Errorf("fleet: %q is not a name", f.Fleet)
	case len(f.Servers) == 0:
		return errors.New("servers: none")
	case f.Trust.Check() != nil:
		return fmt.Errorf("trust: %w", f.Trust.Check())
	}
	for _, s := range slices.Concat(f.Servers, f.Leaving) {
		if again, err := parseServer(strings.TrimPrefix(s.URL(), "tls://")); err != nil || again != s {
			return fmt.Errorf("servers: %q, port %d: not a server", s.Host, s.Port)
		}
	}
	for name, h := range f.Hosts {
		switch {
		case !fleet.ValidHost(name) || h == nil || !fleet.ValidHost(h.Group):
			return fmt.Errorf("hosts: %q is not the name of a host, or has no group", name)
		case len(h.Keys) == 0 || len(h.Keys) > 2 || len(h.NKeys) != len(h.Keys):
			return fmt.Errorf("hosts.%s: %d keys and %d nkeys, not one or two of each", name, len(h.Keys), len(h.NKeys))
		}
		for _, k := range h.NKeys {
			if !hub.IsNKeyPublic(k) {
				return fmt.Errorf("hosts.%s.nkeys: %q is not the public key of a NATS user", name, k)
			}
		}
	}
	return nil
}

func (f *Folder) readKeys() error {
	operator, err := f.read(operatorFile)
	if err != nil {
		return err
	}
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(operator)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return fmt.Errorf("%s is not the key that bailiff fleet init wrote", filepath.Join(f.dir, operatorFile))
	}
	f.operator = ed25519.NewKeyFromSeed(seed)
	i := f.Trust.Index(hub.Key(f.operator.Public().(ed25519.PublicKey)))
	if i < 0 {
		return cli.WithHint(fmt.Errorf("%s is not the key of an operator of fleet %s", filepath.Join(f.dir, operatorFile), f.Fleet),
			"an operator adds the public one: bailiff fleet operator DIR NAME KEY")
	}
	f.me = f.Trust.Operators[i].Name
	admin, err := f.read(adminFile)
	if err != nil {
		return err
	}
	f.seed = strings.TrimSpace(string(admin))
	if f.admin, err = hub.NKeyPublic(f.seed); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(f.dir, adminFile), err)
	}
	cert, err := f.read(caFile)
	if err != nil {
		return err
	}
	key, err := f.read(caKeyFile)
	if err != nil {
		return err
	}
	if err := f.readNext(); err != nil {
		return err
	}
	f.ca, err = hub.ReadAuthority(cert, key)
	if err != nil && f.next != nil { // finishHub was interrupted: given again, it writes both
		f.ca, err = f.next, nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.dir, err)
	}
	return nil
}

func (f *Folder) read(name string) ([]byte, error) {
	return atomicfile.Read(filepath.Join(f.dir, name), maxFile, 0)
}

// acquire keeps a second command from changing the folder at the same time.
func (f *Folder) acquire() error {
	d, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		return fmt.Errorf("%s: another command is changing it", f.dir)
	}
	f.lock = d
	return nil
}

// close lets other commands change the folder.
func (f *Folder) close() { f.lock.Close() }

func (f *Folder) write(name string, data []byte, mode fs.FileMode) error {
	if old, err := f.read(name); err == nil && bytes.Equal(old, data) {
		return os.Chmod(filepath.Join(f.dir, name), mode)
	}
	if err := atomicfile.Write(filepath.Join(f.dir, name), data, mode); err != nil {
		return err
	}
	f.wrote = append(f.wrote, filepath.Join(f.dir, name))
	return nil
}

func urls(servers []hub.Server) (l []string) {
	for _, s := range servers {
		l = append(l, s.URL())
	}
	return l
}

// memberFile is the file of a host.
func (f *Folder) memberFile(name string) string {
	return filepath.Join(f.dir, hostsDir, name+".json")
}

// newKeys gives a host new keys beside those it has, and returns its new file, which finish completes.
func (f *Folder) newKeys(name string) (*hub.Member, error) {
	h := f.Hosts[name]
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	seed, nkey, err := hub.NewNKey()
	if err != nil {
		return nil, err
	}
	h.Keys, h.NKeys = append(h.Keys, hub.Key(pub)), append(h.NKeys, nkey)
	return &hub.Member{Version: 1, Fleet: f.Fleet, Host: name, Group: h.Group, NKey: seed, Key: key.Seed()}, nil
}

// finish signs a new roster and writes everything that is made from it, the inventory last: after a crash the command can be given again.
// members are new files of hosts; those that still lie in the folder are brought up to date.
func (f *Folder) finish(now time.Time, members ...*hub.Member) error {
	// A time, so that the first roster of a new folder is newer than the last one of a folder that was lost.
	f.Serial = max(f.Serial+1, uint64(now.Unix()))
	roster := hub.Roster{Version: 1, Fleet: f.Fleet, Serial: f.Serial, Made: now.UTC().Truncate(time.Second), Servers: urls(f.Servers), CA: f.authorities(),
		Changes: f.Changes, Hosts: map[string]hub.RosterHost{}}
	f.Allow = slices.DeleteFunc(f.Allow, func(a hub.Allowed) bool { return a.Until != nil && !now.Before(*a.Until) })
	roster.Allow = f.Allow
	for name, h := range f.Hosts {
		roster.Hosts[name] = hub.RosterHost{Group: h.Group, Keys: h.Keys}
	}
	sealed, err := roster.Sign(f.operator)
	if err != nil {
		return err
	}
	if err := f.writeMembers(&roster, members); err != nil {
		return err
	}
	if err := f.writeServers(sealed, now); err != nil {
		return err
	}
	if err := f.writeLeaving(sealed); err != nil {
		return err
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return f.write(inventoryFile, append(data, '\n'), 0o644)
}

func (f *Folder) writeMembers(r *hub.Roster, members []*hub.Member) error {
	if err := os.MkdirAll(filepath.Join(f.dir, hostsDir), 0o700); err != nil {
		return err
	}
	isNew := make(map[string]bool, len(members))
	for _, m := range members {
		isNew[m.Host] = true
	}
	for name := range f.Hosts {
		if isNew[name] {
			continue
		}
		m, err := hub.ReadMember(f.memberFile(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the operator has moved it to the host
		}
		if err != nil {
			return cli.WithHint(err, "remove it if %s has joined, else run bailiff fleet rotate %s %s", name, f.dir, name)
		}
		members = append(members, m)
	}
	for _, m := range members {
		m.Servers, m.CA, m.Trust, m.Serial = r.Servers, r.CA, f.Trust, r.Serial
		if err := m.Check(); err != nil {
			return fmt.Errorf("%s: %w", f.memberFile(m.Host), err)
		}
		if err := m.Write(f.memberFile(m.Host)); err != nil {
			return err
		}
		if isNew[m.Host] {
			f.wrote = append(f.wrote, f.memberFile(m.Host))
		}
	}
	return nil
}

func (f *Folder) writeServers(roster *hub.Sealed, now time.Time) error {
	for _, s := range f.Servers {
		dir := filepath.Join(serversDir, s.Name())
		if err := os.MkdirAll(filepath.Join(f.dir, dir), 0o700); err != nil {
			return err
		}
		cert, err := f.read(filepath.Join(dir, "hub.crt"))
		if _, keyErr := f.read(filepath.Join(dir, "hub.key")); err != nil || keyErr != nil || !f.ca.Good(cert, s, now) {
			var key []byte
			if cert, key, err = f.ca.Server(s, now); err != nil {
				return err
			}
			if err := f.write(filepath.Join(dir, "hub.key"), key, secretMode); err != nil {
				return err
			}
		}
		local := hub.Server{Host: "127.0.0.1", Port: s.Port} // for use on the server itself; the other URL is for elsewhere
		admin := hub.Admin{Version: 1, Fleet: f.Fleet, Servers: []string{local.URL(), s.URL()}, CA: f.authorities(), NKey: f.seed, Replicas: len(f.Servers), Trust: f.Trust, Roster: *roster}
		if err := admin.Check(); err != nil {
			return err
		}
		for name, data := range map[string][]byte{"hub.crt": cert, "ca.crt": []byte(f.authorities()), dropInName: []byte(dropIn)} {
			if err := atomicfile.Write(filepath.Join(f.dir, dir, name), data, 0o644); err != nil {
				return err
			}
		}
		if err := f.writeConf(s); err != nil {
			return err
		}
		if err := admin.Write(filepath.Join(f.dir, dir, adminName)); err != nil {
			return err
		}
		f.wrote = append(f.wrote, filepath.Join(f.dir, dir)+"/")
	}
	return nil
}

// writeConf writes the configuration of nats-server for a server.
func (f *Folder) writeConf(s hub.Server) error {
	password := sha256.Sum256([]byte("bailiff hub servers\x00" + f.seed))
	c := hub.Config{Fleet: f.Fleet, Servers: f.Servers, Password: hex.EncodeToString(password[:16]), Admin: f.admin, Hosts: map[string][]string{},
		Dir: hubDir, Store: storeDir, Listen: "0.0.0.0"}
	for name, h := range f.Hosts {
		c.Hosts[name] = h.NKeys
	}
	return f.write(filepath.Join(serversDir, s.Name(), confName), c.NATS(s), secretMode)
}

// result says what was written and what is to be done with it, one step a host and server.
func (f *Folder) result(steps ...string) *result {
	r := &result{Fleet: f.Fleet, Serial: f.Serial, Hosts: len(f.Hosts), Files: f.wrote, Steps: steps}
	slices.Sort(r.Files)
	return r
}

// serverSteps say how the hub gets its new files.
func (f *Folder) serverSteps() (l []string) {
	for _, s := range f.Servers {
		dir := filepath.Join(f.dir, serversDir, s.Name())
		l = append(l, fmt.Sprintf("server %s: copy the folder %s to it and run there: bailiff fleet hub %s", s.Host, dir, filepath.Base(dir)))
	}
	return l
}

// mostSteps is the number of hosts for which hostSteps has a step each.
const mostSteps = 10

// hostSteps say how hosts get their files.
func (f *Folder) hostSteps(names ...string) (l []string) {
	if len(names) > mostSteps {
		return []string{fmt.Sprintf("%d hosts: move %s to each, which holds its secrets, and run there: bailiff fleet join HOST.json", len(names), f.memberFile("HOST"))}
	}
	for _, name := range names {
		file := f.memberFile(name)
		l = append(l, fmt.Sprintf("host %s: move %s to it, which holds its secrets, and run there: bailiff fleet join %s", name, file, filepath.Base(file)))
	}
	return l
}
