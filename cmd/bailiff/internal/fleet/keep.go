package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/units/atomicfile"
	"bailiff/units/hub"
)

const (
	// encryptedFile is where a host keeps its file if systemd can encrypt it, and encryptedUnit makes the unit read it from there: systemd
	// does not start a unit if the file that its LoadCredential= names is missing.
	encryptedFile = settings.Dir + "/fleet.cred"
	encryptedUnit = "/etc/systemd/system/" + agentUnit + ".d/50-encrypted.conf"

	encryptedDropIn = `# Written by bailiff fleet join: the file of this host is encrypted. bailiff fleet leave removes this.
[Unit]
ConditionPathExists=
ConditionPathExists=` + encryptedFile + `

[Service]
LoadCredential=
LoadCredentialEncrypted=` + hub.Credential + `:` + encryptedFile + `
`

	maxEncrypted = 256 << 10 // bytes
)

// memberFiles are all files of a host that belongs to a fleet.
var memberFiles = []string{hub.MemberFile, encryptedFile, encryptedUnit, fragment}

// systemdCreds runs systemd-creds(1), which came with systemd 250, as LoadCredentialEncrypted= did.
func systemdCreds(ctx context.Context, input []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "systemd-creds", args...)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &said
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("systemd 250 and later have systemd-creds, which is not installed here")
	case err != nil:
		return nil, fmt.Errorf("systemd-creds %s: %w: %s", args[0], err, text.Clean(strings.TrimSpace(said.String())))
	}
	return out, nil
}

// encrypt encrypts a host's file by the keys of this machine: that of its TPM2, if it has one, and that of the host. The TPM's
// registers are left out, since an update of the firmware changes them.
func encrypt(ctx context.Context, plain []byte) ([]byte, error) {
	out, err := systemdCreds(ctx, plain, "encrypt", "--name="+hub.Credential, "--tpm2-pcrs=", "-", "-")
	if err != nil {
		return nil, err
	}
	if again, err := systemdCreds(ctx, out, "decrypt", "--name="+hub.Credential, "-", "-"); err != nil {
		return nil, err
	} else if !bytes.Equal(again, plain) {
		return nil, errors.New("systemd-creds decrypt does not return what was encrypted")
	}
	return out, nil
}

// installed reads the file of this host, encrypted or not. Without one the error is fs.ErrNotExist.
func installed(ctx context.Context) (*hub.Member, error) {
	sealed, err := atomicfile.Read(encryptedFile, maxEncrypted, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return hub.ReadMember(hub.MemberFile)
	}
	var plain []byte
	if err == nil {
		plain, err = systemdCreds(ctx, sealed, "decrypt", "--name="+hub.Credential, "-", "-")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", encryptedFile, err)
	}
	m, err := hub.ParseMember(plain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", encryptedFile, err)
	}
	return m, nil
}

// installMember writes the host's file, encrypted unless there is a reason not to, and its part of the configuration. It returns
// how to put back what was there.
func installMember(ctx context.Context, m *hub.Member, plain bool) (undo func() error, notEncrypted, err error) {
	if err := settings.MakeFolder(filepath.Dir(fragment)); err != nil {
		return nil, nil, err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, nil, err
	}
	data = append(data, '\n')
	wanted := map[string][]byte{fragment: []byte(madeBy + "fleet:\n  hosts: roster\n")}
	if plain {
		wanted[hub.MemberFile] = data
	} else if sealed, err := encrypt(ctx, data); err != nil {
		notEncrypted, wanted[hub.MemberFile] = err, data
	} else {
		wanted[encryptedFile], wanted[encryptedUnit] = sealed, []byte(encryptedDropIn)
		if err := settings.MakeFolder(filepath.Dir(encryptedUnit)); err != nil {
			return nil, nil, err
		}
	}
	before := map[string][]byte{}
	for _, name := range memberFiles {
		old, err := os.ReadFile(name)
		if err == nil {
			before[name] = old
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}
	undo = func() error { return putMember(before) }
	if err := putMember(wanted); err != nil {
		return nil, nil, errors.Join(err, undo())
	}
	return undo, notEncrypted, nil
}

// putMember makes memberFiles what is wanted; those that are not named are removed.
func putMember(wanted map[string][]byte) error {
	for name, data := range wanted {
		mode := fs.FileMode(0o644)
		if name == hub.MemberFile || name == encryptedFile {
			mode = secretMode
		}
		if err := atomicfile.Write(name, data, mode); err != nil {
			return err
		}
	}
	for _, name := range memberFiles {
		if _, ok := wanted[name]; ok {
			continue
		}
		if err := remove(name); err != nil {
			return err
		}
	}
	if _, ok := wanted[encryptedUnit]; !ok {
		_ = os.Remove(filepath.Dir(encryptedUnit)) // unless others have files there
	}
	return nil
}

// remove removes a file that need not exist.
func remove(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
