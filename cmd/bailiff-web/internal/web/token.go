package web

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bailiff/units/atomicfile"
)

// tokenBytes is the strength of a token: 256 bits cannot be guessed.
const tokenBytes = 32

// Token returns the token in a folder, and makes one that only this user can read if there is none: an open page stays valid while
// the server ends and starts. It is gone after a reboot.
func Token(dir string) (string, error) {
	path := filepath.Join(dir, "token")
	b, err := os.ReadFile(path)
	if err == nil {
		if t := strings.TrimSpace(string(b)); len(t) == base64.RawURLEncoding.EncodedLen(tokenBytes) {
			return t, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("token: %w", err)
	}
	t := NewToken()
	if err := atomicfile.Write(path, []byte(t+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return t, nil
}

// NewToken makes a token.
func NewToken() string {
	b := make([]byte, tokenBytes)
	rand.Read(b) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}
