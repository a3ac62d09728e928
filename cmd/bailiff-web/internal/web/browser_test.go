package web

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"bailiff/units/e2e/browser"
)

// chromium starts a real browser that may ask this server only.
func (s *served) chromium(ctx context.Context) *browser.Browser {
	s.t.Helper()
	b, err := browser.Start(ctx, browser.Options{Hosts: []string{s.tcp}})
	if errors.Is(err, browser.ErrMissing) {
		s.t.Skip(err)
	} else if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(b.Close)
	return b
}

// checkFaults fails the test for what a page must not do. The daemon of these tests has no metrics.
func checkFaults(t *testing.T, b *browser.Browser) {
	t.Helper()
	for _, f := range b.Faults() {
		if !strings.HasSuffix(f, "/metrics") {
			t.Error(f)
		}
	}
}

func TestBrowser(t *testing.T) {
	needReader(t)
	s := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := s.chromium(ctx)
	if err := b.Go(ctx, "http://"+s.tcp+"/#"+s.token); err != nil {
		t.Fatal(err)
	}
	if err := b.Until(ctx, `document.querySelector('#failures')`); err != nil {
		t.Fatal(err, b.Faults())
	}
	if dir := os.Getenv("BAILIFF_SCREENSHOTS"); dir != "" {
		b.Screenshot(ctx, dir+"/overview.png", true)
	}
	checkFaults(t, b)
}
