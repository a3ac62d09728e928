package filters

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// matchLine is a line of `bailiff match --json`. bailiff(1) documents its keys, which do not change.
type matchLine struct {
	Kind    string      `json:"kind"` // what the line says of an attempt: "failure", "success", "delivery", "void" or "none"
	Line    int         `json:"line"` // of the input, from 1; of an export stream the entry's number
	Pattern *string     `json:"pattern"`
	Address *netip.Addr `json:"address"`
	User    *string     `json:"user"`
	Port    *uint16     `json:"port"`
	Count   int         `json:"count"`             // attempts that the line adds: 0 if its attempt was counted before
	Trusted *bool       `json:"trusted,omitempty"` // of entries: whether the filter trusts the writer; if not, it is no evidence
	Message string      `json:"message"`
	Cursor  string      `json:"cursor,omitempty"`
	Explain *explained  `json:"explain,omitempty"`
}

type matchSummary struct {
	Kind     string `json:"kind"` // "summary"
	Lines    int    `json:"lines"`
	Failures int    `json:"failures"` // lines that are evidence
	Attempts int    `json:"attempts"` // that they add up to
	Success  int    `json:"successes"`
	Context  int    `json:"context"`
	None     int    `json:"none"`
	Refused  int    `json:"untrusted"`
}

// matching tries lines on one filter and prints the results.
type matching struct {
	*cli.Env
	m           *filter.Matcher
	matchedOnly bool
	explaining  bool
	alone       bool // there is one line only
	conns       *jail.Connections
	sum         matchSummary
	hit         filter.Hit
}

func newMatching(e *cli.Env, m *filter.Matcher, matchedOnly, explaining bool) *matching {
	return &matching{Env: e, m: m, matchedOnly: matchedOnly, explaining: explaining, conns: jail.NewConnections(rand.Uint64()), sum: matchSummary{Kind: "summary"}}
}

// single tries one entry. cursor is empty for a bare line, whose writer is not known.
func (r *matching) single(one *filter.Entry, cursor string) error {
	r.alone = true
	if cursor == "" {
		return r.one(one, nil, "")
	}
	trusted := r.m.Trusts(one)
	return r.one(one, &trusted, cursor)
}

// read tries all of the input: an export stream, or lines.
func (r *matching) read(from io.Reader, export bool) error {
	in := bufio.NewReaderSize(from, 64<<10)
	if export || looksLikeExport(in) {
		return r.readExport(in)
	}
	return r.readLines(in)
}

func (r *matching) readExport(in io.Reader) error {
	x := journal.NewExport(in, journal.Options{Fields: evidence.Fields})
	var fe filter.Entry
	for x.Next() {
		entry := x.Entry()
		evidence.Convert(entry, &fe)
		trusted := r.m.Trusts(&fe)
		if err := r.one(&fe, &trusted, entry.Cursor.String()); err != nil {
			return err
		}
	}
	return x.Err()
}

// readLines reads text lines: bare messages, or as journalctl and syslog print them (time, host, identifier[pid]: message).
func (r *matching) readLines(in *bufio.Reader) error {
	for {
		line, long, err := in.ReadLine()
		if err == nil {
			err = r.one(lineEntry(bytes.TrimRight(line, "\r")), nil, "")
		}
		for long && err == nil { // skip the rest of a line that is longer than any filter looks at
			_, long, err = in.ReadLine()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// one tries an entry and prints the result. trusted is nil where nothing is known about the writer.
func (r *matching) one(fe *filter.Entry, trusted *bool, cursor string) error {
	r.sum.Lines++
	l := &matchLine{Kind: "none", Line: r.sum.Lines, Trusted: trusted, Cursor: cursor, Message: strings.ToValidUTF8(string(fe.Message), "\uFFFD")}
	if r.m.MatchMessage(fe.Message, &r.hit) {
		r.count(fe, l)
	} else if r.sum.None++; r.matchedOnly {
		return nil
	}
	var x *filter.Explanation
	trust := ""
	if r.explaining {
		x = r.m.Explain(fe.Message)
		trust = trustText(r.m, x, fe, trusted != nil)
	}
	if r.JSON {
		if x != nil {
			l.Explain = newExplained(r.m, x, trust)
		}
		if l.Kind == "context" { // it has no outcome; pattern tells it from lines that no pattern fits
			l.Kind = "none"
		}
		return cli.WriteJSON(r.Out, l)
	}
	r.print(l)
	if x != nil {
		printExplanation(r.Env, r.m, x, trust)
	}
	return nil
}

// count completes the result for a line that matched: address, kind, and the attempts that it adds.
func (r *matching) count(fe *filter.Entry, l *matchLine) {
	h := &r.hit
	l.Pattern = &h.Pattern.Name
	if l.Trusted != nil && h.Pattern.RequireMessage && !fe.WholeMessage {
		l.Trusted = new(bool)
	}
	addr := h.Addr
	conn := r.conns.Key(0, fe.Boot, fe.PID, h.ID)
	if !addr.IsValid() {
		addr, _ = r.conns.Known(conn)
	}
	if addr.IsValid() {
		l.Address = &addr
	}
	if len(h.User) > 0 {
		u := strings.ToValidUTF8(string(h.User), "\uFFFD")
		l.User = &u
	}
	if h.Port != 0 {
		l.Port = &h.Port
	}
	switch {
	case h.Kind == filter.Success, h.Kind == filter.Delivery, h.Kind == filter.Void:
		l.Kind = h.Kind.String()
	case h.Kind == filter.Failure && addr.IsValid():
		l.Kind = "failure"
	default: // a failure without an address is none until a later line of its connection names the address
		l.Kind = "context"
	}
	if l.Trusted != nil && !*l.Trusted {
		r.sum.Refused++
		return
	}
	if h.Kind == filter.Failure || h.Kind == filter.Context {
		r.countAttempts(fe, l, conn, addr)
	}
	switch l.Kind {
	case "failure":
		r.sum.Failures++
	case "success":
		r.sum.Success++
	default:
		r.sum.Context++
	}
}

// countAttempts counts a line of a connection as the daemon does: once an address is known, with what waited for it.
func (r *matching) countAttempts(fe *filter.Entry, l *matchLine, conn jail.ConnKey, addr netip.Addr) {
	h := &r.hit
	line := jail.Attempt{At: fe.Realtime, Pattern: h.Pattern.Name, Attempts: max(1, h.Repeat), Stage: h.Pattern.Stage, Source: uint32(jail.Hash(h.Source, 1))}
	if !addr.IsValid() {
		if h.Kind == filter.Failure {
			r.conns.Wait(conn, line)
		}
		return
	}
	add := func(a *jail.Attempt) {
		n := r.conns.Count(conn, addr, a)
		l.Count += n
		r.sum.Attempts += n
	}
	r.conns.Join(conn, addr, fe.Realtime)
	if waited, ok := r.conns.TakeWaiting(conn); ok {
		if l.Kind == "context" {
			l.Kind, l.Pattern = "failure", &waited.Pattern
		}
		add(&waited)
	}
	if h.Kind == filter.Failure {
		add(&line)
	}
}

func (r *matching) print(l *matchLine) {
	what := l.Kind
	if l.Pattern != nil {
		what += " " + *l.Pattern
	}
	if l.Address != nil {
		what += " " + l.Address.String()
	}
	if l.User != nil {
		what += " user " + text.Clean(*l.User)
	}
	switch {
	case l.Trusted != nil && !*l.Trusted && l.Kind != "none":
		what += " (not trusted: no evidence)"
	case l.Kind == "failure" && l.Count == 0:
		what += " (same attempt: counted already)"
	case l.Kind == "context":
		what += " (no failure by itself: it belongs to a connection)"
	case l.Kind == "none":
		if mode := r.otherMode(l.Message); mode != "" {
			what += " in mode " + r.m.Mode + " (mode " + mode + " matches it)"
		}
	case l.Count > 1:
		what += fmt.Sprintf(" (%s)", diag.Count(l.Count, "attempt"))
	}
	style := cli.Faint
	switch l.Kind {
	case "failure":
		style = cli.Red
	case "success":
		style = cli.Green
	}
	place := ""
	if !r.alone {
		place = fmt.Sprintf("%d: ", l.Line)
	}
	r.Printf("%s%s\n    %s\n", place, r.Paint(style, what), text.Clean(l.Message))
}

// otherMode is a mode of the filter that matches a line which this one does not; "" if there is none.
func (r *matching) otherMode(message string) string {
	for _, mode := range r.m.Filter.Modes {
		var h filter.Hit
		if m, err := r.m.Filter.Mode(mode); err == nil && m != r.m && m.MatchMessage([]byte(message), &h) {
			return mode
		}
	}
	return ""
}

func (r *matching) finish() error {
	s := &r.sum
	return r.Print(s, func() {
		r.Printf("%s: %s (%s), %s, %s, %d without a match", diag.Count(s.Lines, "line"), diag.Count(s.Failures, "failure"), diag.Count(s.Attempts, "attempt"),
			diag.Count(s.Success, "success"), diag.Count(s.Context, "context line"), s.None)
		if s.Refused > 0 {
			r.Printf(", %d not trusted", s.Refused)
		}
		r.Printf("\n")
	})
}

// lineEntry makes an entry of a line of text, whose writer is not known.
func lineEntry(line []byte) *filter.Entry {
	e := &filter.Entry{UID: -1}
	e.Message, e.Identifier, e.PID = splitSyslog(line)
	return e
}
