package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// parameters parses the query. Every name must be known and given once: ignoring a misspelt one could lift the wrong bans.
func parameters(raw string, known []string) (url.Values, error) {
	hint := "this call takes no parameters"
	if len(known) > 0 {
		hint = "parameters are " + strings.Join(known, ", ")
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, BadRequest(hint, "query %.100q cannot be read", raw)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return nil, BadRequest(hint, "unknown parameter %.50q", name)
		case len(values) > 1:
			return nil, BadRequest("give it once", "parameter %q is given %d times", name, len(values))
		}
	}
	return q, nil
}

// body reads one JSON value, strictly.
func body(r *http.Request, v any) error {
	j := json.NewDecoder(r.Body)
	j.DisallowUnknownFields()
	err := j.Decode(v)
	if err == nil {
		if _, err = j.Token(); err == io.EOF {
			return nil
		} else if err == nil {
			return BadRequest("send one JSON object", "the body goes on after its end")
		}
	}
	var big *http.MaxBytesError
	var typ *json.UnmarshalTypeError
	var syn *json.SyntaxError
	switch {
	case errors.As(err, &big):
		return &Error{Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("the body has more than %d bytes", big.Limit), Hint: "split it into several calls"}
	case errors.Is(err, io.EOF):
		return BadRequest("send a JSON object", "the body is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return BadRequest("send a whole JSON object", "the body ends in the middle")
	case errors.As(err, &typ):
		return BadRequest("see bailiffd(8), control socket", "%s: a JSON %s, where %s belongs", typ.Field, typ.Value, typ.Type)
	case errors.As(err, &syn):
		return BadRequest("send a JSON object", "the body is not JSON: byte %d: %v", syn.Offset, syn)
	case strings.HasPrefix(err.Error(), "json: "):
		return BadRequest("see bailiffd(8), control socket", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return BadRequest("", "the body cannot be read: %v", err)
}

// prefix parses an address or a prefix. Host bits are dropped; host names are not looked up.
func prefix(name, s string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(s)
	if err == nil && a.Zone() == "" { // a zone may contain anything, a slash as well
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err == nil && p.Addr().Is4In6() && p.Bits() < 96:
		return p, BadRequest("write the IPv4 prefix itself", "%s: %.100q covers more than IPv4", name, s)
	case err == nil && p.Addr().Is4In6():
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked(), nil
	case err == nil:
		return p.Masked(), nil
	}
	return p, BadRequest("write 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/64", "%s: %.100q is neither an address nor a prefix", name, s)
}

// yes parses a parameter that is true or false; false if it is missing.
func yes(q url.Values, name string) (bool, error) {
	switch v := q.Get(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, BadRequest(name+"=true", "%s: %.20q", name, v)
	}
}
