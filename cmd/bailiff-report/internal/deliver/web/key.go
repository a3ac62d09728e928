package web

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bailiff/cmd/bailiff-report/internal/report"
)

// Unkeyed is the error of a delivery for which there is no secret: the destination as a whole is set up wrongly.
func Unkeyed(err error) error { return &report.Refused{All: true, Err: err} }

// Key reads a secret that travels in a header or a form. The error is Unkeyed's, and holds nothing of it.
func Key(read func(name string) ([]byte, error), name string) (string, error) {
	b, err := read(name)
	if err != nil {
		return "", Unkeyed(err)
	}
	s := strings.TrimSpace(string(b))
	switch {
	case s == "":
		return "", Unkeyed(fmt.Errorf("credential %s: is empty", name))
	case len(s) > 4096 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", Unkeyed(fmt.Errorf("credential %s: holds no key, which is one line of ASCII without spaces", name))
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
