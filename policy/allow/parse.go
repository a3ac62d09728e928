package allow

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/policy/diag"
)

// Limits on what is read from a file. Published lists of monitoring services have hundreds of lines, those of cloud
// providers some ten thousand.
const (
	MaxFileSize = 32 << 20  // bytes
	MaxEntries  = 1_000_000 // of one file
	maxLine     = 1024      // bytes
	maxComment  = 200       // bytes kept of a comment
	maxErrors   = 20        // reported of one file
)

// The shortest prefix lengths accepted. A mistyped length must not switch protection off for a large part of the Internet; /8
// and /16 still accept the largest networks that anybody owns. Unique local and link-local IPv6 addresses (fc00::/7,
// fe80::/10) are accepted as a whole.
const (
	minBits4 = 8
	minBits6 = 16
)

var wideOK = []netip.Prefix{netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10")}

// ParseFile reads an address list: one address or prefix a line, which may end with "until 2026-12-31" and with a comment from # on. Blank
// lines, CRLF and a byte order mark are accepted. Every error is a *diag.Error with line and column; several are joined. After an error, no
// entries are returned. name is used in errors and as the entries' origin.
func ParseFile(name string, r io.Reader) ([]Entry, error) {
	fail := func(line int, format string, args ...any) *diag.Error {
		return &diag.Error{File: name, Line: line, Col: min(line, 1), Text: fmt.Sprintf(format, args...)}
	}
	var (
		entries []Entry
		errs    []error
		last    string // comment of the previous line: lists repeat comments, so one copy is shared
		limited = &io.LimitedReader{R: r, N: MaxFileSize + 1}
		in      = bufio.NewReaderSize(limited, maxLine+2)
	)
	for n := 1; ; n++ {
		text, err := in.ReadSlice('\n')
		if limited.N == 0 {
			return nil, fail(0, "has more than %d bytes", MaxFileSize)
		}
		if err == bufio.ErrBufferFull {
			return nil, errors.Join(append(errs, fail(n, "the line has more than %d bytes", maxLine).WithHint("write one address or prefix a line"))...)
		}
		if err != nil && err != io.EOF {
			return nil, fail(n, "cannot be read: %s", err)
		}
		if n == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		e, found, col, bad := parseLine(string(bytes.TrimRight(text, "\r\n")))
		switch {
		case bad != nil:
			if len(errs) == maxErrors {
				errs = append(errs, fail(n, "more errors may follow; only the first %d of a file are shown", maxErrors))
				return nil, errors.Join(errs...)
			}
			bad.File, bad.Line, bad.Col = name, n, col
			errs = append(errs, bad)
		case found:
			if len(entries) == MaxEntries {
				return nil, fail(n, "more than %d entries", MaxEntries)
			}
			e.Origin, e.Line = name, n
			if e.Comment != last {
				last = strings.Clone(e.Comment) // e.Comment is a slice of its line
			}
			e.Comment = last
			entries = append(entries, e)
		}
		if err == io.EOF {
			break
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return entries, nil
}

// parseLine reads one line without its end. col is where an error is, from 1, counted in characters.
func parseLine(line string) (e Entry, found bool, col int, err *diag.Error) {
	for i, r := range line {
		if r == utf8.RuneError && !strings.HasPrefix(line[i:], "\ufffd") {
			return e, false, column(line, i), (&diag.Error{Text: "is not UTF-8"}).WithHint("save the file as UTF-8")
		}
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return e, false, column(line, i), &diag.Error{Text: fmt.Sprintf("control character %U", r)}
		}
	}
	text, comment, _ := strings.Cut(line, "#")
	body := strings.TrimSpace(text)
	if body == "" {
		return e, false, 0, nil
	}
	e, off, err := parseEntry(body)
	if err != nil {
		return e, false, column(line, strings.Index(line, body)+off), err
	}
	e.Comment = cut(strings.TrimSpace(comment))
	return e, true, 0, nil
}

func column(line string, off int) int { return utf8.RuneCountInString(line[:off]) + 1 }

// cut shortens a comment at a rune boundary.
func cut(s string) string {
	if len(s) <= maxComment {
		return s
	}
	n := maxComment
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// ParseEntry reads one entry of a list, without comment: "192.0.2.7", "2001:db8::/48 until 2026-12-31". The error is a
// *diag.Error without a place, which the caller adds.
func ParseEntry(s string) (Entry, error) {
	e, _, err := parseEntry(strings.TrimSpace(s))
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// parseEntry also returns the byte at which an error is.
func parseEntry(s string) (e Entry, off int, err *diag.Error) {
	word := s
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		word = s[:i]
		rest := strings.TrimLeft(s[i:], " \t")
		off = len(s) - len(rest)
		when, ok := strings.CutPrefix(rest, "until")
		if !ok || strings.TrimLeft(when, " \t") == when {
			return e, off, diag.Errorf("unexpected %q after the address", diag.Clip(rest)).WithHint("write an address or a prefix, optionally \"until 2026-12-31\" and a # comment after it")
		}
		when = strings.TrimSpace(when)
		if e.Until, err = parseUntil(when); err != nil {
			return e, len(s) - len(when), err
		}
	}
	e.Prefix, err = parsePrefix(word)
	if err != nil {
		return e, 0, err
	}
	return e, 0, nil
}

// parseUntil reads the end of an entry: a day, which counts to its end in UTC, or a moment as RFC 3339 writes it.
func parseUntil(s string) (time.Time, *diag.Error) {
	t, err := time.Parse(time.DateOnly, s)
	if err == nil {
		t = t.AddDate(0, 0, 1)
	} else if t, err = time.Parse(time.RFC3339, s); err != nil {
		return t, diag.Errorf("%q is not a day", diag.Clip(s)).WithHint("write until 2026-12-31 (to the end of that day, UTC) or until 2026-12-31T18:00:00Z")
	}
	if t.Year() < 2000 {
		return t, diag.Errorf("%q is too long ago", diag.Clip(s)).WithHint("write until 2026-12-31")
	}
	return t.UTC(), nil
}

// formatUntil writes what the entry's Until was read from, so that ParseEntry reads the same again.
func (e Entry) formatUntil() string {
	if e.Until.IsZero() {
		return ""
	}
	t := e.Until.UTC()
	if t.Equal(t.Truncate(24 * time.Hour)) {
		return " until " + t.AddDate(0, 0, -1).Format(time.DateOnly)
	}
	return " until " + t.Format(time.RFC3339Nano)
}

// String writes the entry as ParseEntry reads it: single addresses without length, no comment.
func (e Entry) String() string {
	if e.Prefix.IsSingleIP() {
		return e.Prefix.Addr().String() + e.formatUntil()
	}
	return e.Prefix.String() + e.formatUntil()
}

// ParsePrefix reads an address or a prefix that may be allowed. It rejects prefixes with host bits, since 192.0.2.7/24
// may mean either of two things, and those that are wider than any network an operator would mean; such a prefix is returned
// with the error, for callers with a limit of their own. IPv4-mapped addresses become IPv4. The error is a *diag.Error without
// a place, which the caller adds.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	if err != nil {
		return p, err
	}
	return p, nil
}

func parsePrefix(s string) (netip.Prefix, *diag.Error) {
	addr, length, slash := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	switch {
	case err != nil:
		return netip.Prefix{}, notAddress(s, addr)
	case a.Zone() != "":
		return netip.Prefix{}, diag.Errorf("%q has a zone", diag.Clip(s)).WithHint("write it without %%%s; addresses are compared without their interface", a.Zone())
	}
	bits := a.BitLen()
	if slash {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			if strings.Contains(length, ".") {
				return netip.Prefix{}, diag.Errorf("%q has a netmask", diag.Clip(s)).WithHint("write the length in place of the mask: 255.255.255.0 is /24, 255.255.0.0 is /16")
			}
			return netip.Prefix{}, diag.Errorf("%q is not a prefix: length %q", diag.Clip(s), diag.Clip(length)).WithHint("a length is a number up to %d", bits)
		}
		bits = p.Bits()
	}
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	p := netip.PrefixFrom(a, bits)
	if m := p.Masked(); m != p {
		return netip.Prefix{}, diag.Errorf("%q has bits beyond its length", diag.Clip(s)).WithHint("write %s for the network, %s for the address alone", m, a)
	}
	least := minBits4
	if a.Is6() {
		least = minBits6
	}
	if bits < least {
		for _, w := range wideOK {
			if w.Bits() <= bits && w.Contains(a) {
				return p, nil
			}
		}
		return p, diag.Errorf("%s is too wide to be allowed: at most /%d for IPv4, /%d for IPv6", p, minBits4, minBits6).WithHint("to disable a jail, write jails.NAME.enabled: false")
	}
	return p, nil
}

// notAddress returns the error for a word that is not an address, with a hint at what was probably meant.
func notAddress(s, addr string) *diag.Error {
	e := diag.Errorf("%q is neither an address nor a prefix", diag.Clip(s))
	switch from, to, isRange := strings.Cut(s, "-"); {
	case isRange && isAddr(from) && isAddr(to):
		return e.WithHint("write a range as prefixes: 192.0.2.0/28")
	case strings.ContainsAny(s, ",;"):
		return e.WithHint("write one address or prefix a line")
	case strings.HasPrefix(s, "["):
		return e.WithHint("write it without brackets and port")
	case strings.Count(addr, ":") == 1 && isAddr(addr[:strings.IndexByte(addr, ':')]):
		return e.WithHint("write it without the port")
	case isHost(addr):
		return e.WithHint("host names are never looked up (anyone who controls the name would choose what is allowed); write the addresses")
	}
	return e.WithHint("write 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/48")
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// isHost reports whether a word looks like a host name: letters, digits, dots and hyphens, with at least one letter.
func isHost(s string) bool {
	letter := false
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			letter = true
		case c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_':
		default:
			return false
		}
	}
	return letter
}
