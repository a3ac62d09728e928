package web

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bailiff/policy/report"
)

// Unkeyed is the error of a delivery for which the secret is missing or cannot be one: the destination as a whole is set up
// wrongly. It says where the secret belongs.
func Unkeyed(name string, why error) error {
	return &report.Refused{All: true, Err: fmt.Errorf("credential %s: %w; put it into a file in /etc/bailiff/credentials, see bailiff-report(8)", name, why)}
}

// Key reads a secret that travels in a header or a form. The error is Unkeyed's, and holds nothing of it.
func Key(read func(name string) ([]byte, error), name string) (string, error) {
	b, err := read(name)
	if err != nil {
		return "", Unkeyed(name, err)
	}
	s := strings.TrimSpace(string(b))
	switch {
	case s == "":
		return "", Unkeyed(name, errors.New("it is empty"))
	case len(s) > 4096 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", Unkeyed(name, errors.New("it holds no key, which is one line of ASCII without spaces"))
	}
	return s, nil
}

// Masked stands for a secret where a request is shown.
const Masked = "****"

// Text is the request as it is sent, but for headers that HTTP itself adds.
func (r *Request) Text() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s\n", r.URL)
	for _, k := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", k, r.Header[k])
	}
	fmt.Fprintf(&b, "Content-Type: %s\nUser-Agent: %s\n\n%s", r.Type, r.Agent, r.Body)
	return []byte(b.String())
}
