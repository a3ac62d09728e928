package httpclient

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bailiff/cmd/bailiff-report/internal/report"
)

// NoKey is the error of a delivery without a valid secret: it holds the destination.
func NoKey(err error) error { return &report.Refused{All: true, Err: err} }

// Key reads a secret for a header or a form. Errors are those of NoKey and contain nothing of it.
func Key(read func(name string) ([]byte, error), name string) (string, error) {
	b, err := read(name)
	if err != nil {
		return "", NoKey(err)
	}
	s := strings.TrimSpace(string(b))
	switch {
	case s == "":
		return "", NoKey(fmt.Errorf("credential %s: is empty", name))
	case len(s) > 4096 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", NoKey(fmt.Errorf("credential %s: is not a key: one line of ASCII without spaces", name))
	}
	return s, nil
}

// Masked replaces a secret in a preview.
const Masked = "****"

// Text is the request as it is sent, without the headers that HTTP adds.
func (r *Request) Text() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", cmp.Or(r.Method, "POST"), r.URL)
	for _, k := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", k, r.Header[k])
	}
	fmt.Fprintf(&b, "Content-Type: %s\nUser-Agent: %s\n\n%s", r.Type, r.Agent, r.Body)
	return []byte(b.String())
}
