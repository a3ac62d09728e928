package fleet

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/units/atomicfile"
	"bailiff/units/hub"
)

func keyCommand() *cli.Command {
	return cli.New("key", "FILE", "make the key of a new operator: write it to a new file and print the public one").Does(func(e *cli.Env, args []string) error {
		pub, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			return err
		}
		f, err := atomicfile.Create(args[0], secretMode)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(operatorKey(key)); err != nil {
			return err
		}
		if err := f.CommitNew(); err != nil {
			return err
		}
		e.Printf("%s\n", base64.StdEncoding.EncodeToString(pub))
		return nil
	})
}

func operatorCommand() *cli.Command {
	c := cli.New("operator", "DIR NAME [KEY]", "add an operator, who may add and remove hosts, by the public key that bailiff fleet key printed").WithJSON()
	remove := c.Flags.Bool("remove", false, "remove an operator, whose signatures are then no longer trusted")
	return c.Does(func(e *cli.Env, args []string) error {
		switch {
		case *remove && len(args) > 2:
			return cli.Usagef("unexpected argument %q: --remove takes no key", args[2])
		case !*remove && len(args) < 3:
			return &cli.UsageError{Text: "missing KEY", Hint: "the new operator makes it: bailiff fleet key FILE"}
		}
		return change(e, args[0], func(f *Folder) (*result, error) {
			if *remove {
				return f.removeOperator(args[1])
			}
			return f.addOperator(args[1], args[2])
		})
	})
}

// operatorNamed returns the place of an operator, or -1.
func (f *Folder) operatorNamed(name string) int {
	return slices.IndexFunc(f.Trust.Operators, func(o hub.Operator) bool { return o.Name == name })
}

func (f *Folder) addOperator(name, key string) (*result, error) {
	k, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(k) != ed25519.PublicKeySize {
		return nil, cli.WithHint(fmt.Errorf("%q is not the public key of an operator", key), "bailiff fleet key FILE prints it")
	}
	if f.operatorNamed(name) >= 0 {
		return nil, cli.WithHint(fmt.Errorf("%s is an operator already", name), "for a new key, first bailiff fleet operator --remove %s %s", f.dir, name)
	}
	if err := f.setOperators(append(slices.Clone(f.Trust.Operators), hub.Operator{Name: name, Key: k})); err != nil {
		return nil, err
	}
	if err := f.finish(time.Now()); err != nil {
		return nil, err
	}
	return f.result(append([]string{f.publishStep()}, append(f.serverSteps(),
		fmt.Sprintf("give %s a copy of %s without %s; there, %s is the file that bailiff fleet key wrote. Change one copy at a time, and replace the others by it",
			name, f.dir, operatorFile, operatorFile))...)...), nil
}

// removeOperator removes an operator. The hub gets new keys, since the operator had them all.
func (f *Folder) removeOperator(name string) (*result, error) {
	i := f.operatorNamed(name)
	switch {
	case i < 0:
		var names []string
		for _, o := range f.Trust.Operators {
			names = append(names, o.Name)
		}
		return nil, cli.WithHint(fmt.Errorf("%q is not an operator of fleet %s", name, f.Fleet), "there are %s", strings.Join(names, ", "))
	case name == f.me:
		return nil, errors.New("the key of this folder is that of " + name + ": another operator has to remove it")
	}
	if err := f.setOperators(slices.Delete(slices.Clone(f.Trust.Operators), i, i+1)); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := f.renewHub(now); err != nil {
		return nil, err
	}
	if err := f.finish(now); err != nil {
		return nil, err
	}
	steps := append(f.renewSteps(), fmt.Sprintf("if %s could have kept the keys of hosts, give them new ones: bailiff fleet rotate %s HOST", name, f.dir))
	if n := len(slices.DeleteFunc(slices.Clone(f.Allow), func(a hub.Allowed) bool { return a.By != name })); n > 0 {
		steps = append(steps, fmt.Sprintf("%d addresses that %s has allowed stay allowed; %s lists them, bailiff fleet allow --remove ends it", n, name, filepath.Join(f.dir, inventoryFile)))
	}
	return f.result(steps...), nil
}

func (f *Folder) setOperators(l []hub.Operator) error {
	t, c, err := f.Trust.Change(f.Fleet, l, f.operator)
	if err != nil {
		return err
	}
	f.Trust, f.Changes = *t, append(f.Changes, *c)
	f.Changes = f.Changes[max(0, len(f.Changes)-hub.MaxChanges):]
	return nil
}

// renewHub gives the hub's own NATS user a new key at once. Its servers get certificates from a new authority only with finishHub: first
// all hosts must have a roster that names it.
func (f *Folder) renewHub(now time.Time) error {
	if err := f.newAdmin(); err != nil {
		return err
	}
	next, key, err := hub.NewAuthority(f.Fleet, now)
	if err != nil {
		return err
	}
	f.next = next
	return errors.Join(f.write(nextKeyFile, key, secretMode), f.write(nextFile, next.PEM, 0o644))
}

// readNext reads the authority that is to be the next one, if any.
func (f *Folder) readNext() error {
	cert, err := f.read(nextFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	key, err := f.read(nextKeyFile)
	if err != nil {
		return err
	}
	if f.next, err = hub.ReadAuthority(cert, key); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(f.dir, nextFile), err)
	}
	return nil
}

// authorities are the certificates of the CAs trusted for servers.
func (f *Folder) authorities() string {
	s := string(f.ca.PEM)
	if f.next != nil {
		s += string(f.next.PEM)
	}
	return s
}

// renewSteps say what is to be done until all hosts know the hub's new authority.
func (f *Folder) renewSteps() []string {
	return append(f.serverSteps(), f.publishStep(), f.finishStep())
}

func (f *Folder) finishStep() string {
	return fmt.Sprintf("when all hosts have roster %d (bailiff fleet status on each), end it: bailiff fleet rotate --finish %s", f.Serial, f.dir)
}

// finishHub ends what renewHub and setServers began: the servers get certificates by the new authority, and those that have left are
// forgotten.
func (f *Folder) finishHub(now time.Time) (*result, error) {
	if f.next == nil && len(f.Leaving) == 0 {
		return nil, errors.New("the hub has no second keys, and no servers that leave: nothing to finish")
	}
	gone := f.Leaving
	f.Leaving = nil
	if f.next != nil {
		f.ca, f.next = f.next, nil
		for from, to := range map[string]string{nextKeyFile: caKeyFile, nextFile: caFile} {
			data, err := f.read(from)
			if err != nil {
				return nil, err
			}
			mode := fs.FileMode(0o644)
			if to == caKeyFile {
				mode = secretMode
			}
			if err := f.write(to, data, mode); err != nil {
				return nil, err
			}
		}
	}
	if err := f.finish(now); err != nil {
		return nil, err
	}
	for _, name := range []string{nextFile, nextKeyFile} {
		if err := remove(filepath.Join(f.dir, name)); err != nil {
			return nil, err
		}
	}
	for _, s := range gone {
		if err := os.RemoveAll(filepath.Join(f.dir, serversDir, s.Name())); err != nil {
			return nil, err
		}
	}
	return f.result(append(f.serverSteps(), f.publishStep())...), nil // else hosts would not trust the old certificates
}
