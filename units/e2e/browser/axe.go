package browser

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// axe-core, which checks pages for people who use a screen reader or the keyboard, as npm has it.
const (
	axeURL = "https://registry.npmjs.org/axe-core/-/axe-core-4.13.0.tgz"
	axeSum = "UzGt8zg7Ny8djbYMhxl2zuEevVa7r2gJjYY5Lwr1xM7+XU2nd6CkIWFTVcCIbAP63vSz71NaVyyuSk9lHKcy0A=="
)

// ErrNoAxe means that axe-core is not at hand.
var ErrNoAxe = errors.New("axe-core is not in the cache (FetchAxe)")

func axePath() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "bailiff-e2e", filepath.Base(axeURL)), nil
}

// FetchAxe downloads axe-core into the user's cache, if it is not there.
func FetchAxe(ctx context.Context) error {
	path, err := axePath()
	if err != nil {
		return err
	}
	if _, err := readAxe(path); err == nil {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, axeURL, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 32<<20))
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err == nil {
		_, err = readAxe(path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", axeURL, err)
	}
	return nil
}

// readAxe takes the script out of the package, whose sum is checked.
func readAxe(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if sum := sha512.Sum512(data); base64.StdEncoding.EncodeToString(sum[:]) != axeSum {
		return nil, fmt.Errorf("%s has another check sum", path)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err != nil {
			return nil, err
		}
		if h.Name == "package/axe.min.js" {
			return io.ReadAll(t)
		}
	}
}

// Axe returns what axe-core finds on the page by the rules of WCAG 2.2 A and AA and its own best practices, of every impact.
func (b *Browser) Axe(ctx context.Context) (found []string, err error) {
	path, err := axePath()
	if err != nil {
		return nil, err
	}
	script, err := readAxe(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoAxe
	} else if err != nil {
		return nil, err
	}
	// Evaluated from outside, so the page's policy does not matter.
	if err := b.Eval(ctx, string(script)+";true", nil); err != nil {
		return nil, err
	}
	var result []struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML string }
	}
	if err := b.Eval(ctx, `axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations']}).then((r) => r.violations.map((v) => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.slice(0, 3).map((n) => ({HTML: n.html.slice(0, 200)}))})))`, &result); err != nil {
		return nil, err
	}
	for _, r := range result {
		found = append(found, fmt.Sprintf("%s (%s): %s: %v", r.ID, r.Impact, r.Help, r.Nodes))
	}
	return found, nil
}
