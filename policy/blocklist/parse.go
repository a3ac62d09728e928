package blocklist

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
)

const (
	// maxLine bounds a line of a list in bytes.
	maxLine = 4096

	// comments are the characters that begin a comment.
	comments = "#;"
)

// Parse reads the content of one of the list's URLs. source is used in errors, which name the line.
func (l *List) Parse(source string, data []byte) (all []netip.Prefix, err error) {
	fail := func(line int, err error) ([]netip.Prefix, error) {
		return nil, &diag.Error{File: source, Line: line, Col: min(line, 1), Text: err.Error()}
	}
	if l.Format == FormatJSON {
		if all, err = l.object(all, data); err == nil && len(all) == 0 {
			err = fmt.Errorf("has nothing at %s", strings.Join(l.Pointers, " or "))
		}
		if err != nil {
			return fail(0, err)
		}
		return all, nil
	}
	n, headed := 0, false
	for line := range bytes.Lines(data) {
		n++
		if len(line) > maxLine {
			return fail(n, fmt.Errorf("the line is longer than %d bytes", maxLine))
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		switch l.Format {
		case FormatLines:
			all, err = l.object(all, line)
		case FormatCSV:
			if all, err = l.field(all, string(line)); err != nil && !headed && len(all) == 0 {
				headed, err = true, nil // the names of the columns
			}
		default:
			text := string(line)
			if i := strings.IndexAny(text, comments); i >= 0 {
				text = strings.TrimSpace(text[:i])
			}
			if text != "" {
				all, err = appendPrefix(all, text)
			}
		}
		if err == nil && len(all) > MaxEntries {
			err = fmt.Errorf("more than %d entries", MaxEntries)
		}
		if err != nil {
			return fail(n, err)
		}
	}
	return all, nil
}

// object appends the prefixes in a JSON document. Lines without an address are metadata, such as when the list was made.
func (l *List) object(all []netip.Prefix, data []byte) (_ []netip.Prefix, err error) {
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return all, fmt.Errorf("is not JSON: %w", err)
	}
	for _, pointer := range l.Pointers {
		ok := allow.Point(doc, pointer, func(at string, v any) bool {
			s, isText := v.(string)
			switch {
			case !isText:
				err = fmt.Errorf("%s is not a string", at)
			case len(all) >= MaxEntries:
				err = fmt.Errorf("more than %d entries", MaxEntries)
			default:
				all, err = appendPrefix(all, strings.TrimSpace(s))
			}
			return err == nil
		})
		if !ok {
			return all, err
		}
	}
	return all, nil
}

// field appends the address in a CSV line.
func (l *List) field(all []netip.Prefix, line string) ([]netip.Prefix, error) {
	if strings.ContainsAny(line[:1], comments) {
		return all, nil
	}
	fields := strings.Split(line, ",")
	if len(fields) < l.Column {
		return all, fmt.Errorf("has %d fields, and addresses are expected in field %d", len(fields), l.Column)
	}
	return appendPrefix(all, strings.Trim(fields[l.Column-1], " \t\""))
}

func appendPrefix(all []netip.Prefix, s string) ([]netip.Prefix, error) {
	p, err := ParsePrefix(s)
	if err != nil {
		return all, err
	}
	return append(all, p), nil
}

// ParsePrefix reads an address or a prefix. One with host bits is an error: 192.0.2.7/24 may mean either of two things.
func ParsePrefix(s string) (netip.Prefix, error) {
	bad := func(why string) (netip.Prefix, error) { return netip.Prefix{}, fmt.Errorf("%q %s", diag.Clip(s), why) }
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return bad("is not an address")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return bad("is not a prefix")
	case p != p.Masked():
		return bad("has host bits: an address or " + p.Masked().String() + " was expected")
	}
	return p, nil
}
