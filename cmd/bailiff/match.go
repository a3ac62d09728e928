package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// matchLine is one line of `bailiff match --json`; its keys are documented in bailiff(1) and stay.
type matchLine struct {
	Kind    string      `json:"kind"` // "failure", "success", "context", "void" or "none"
	Line    int         `json:"line"` // of the input, from 1; the entry's number in an export stream
	Pattern *string     `json:"pattern"`
	Address *netip.Addr `json:"address"`
	User    *string     `json:"user"`
	Port    *uint16     `json:"port"`
	Count   int         `json:"count"`             // attempts that the line adds: 0 when it belongs to an attempt that counted already
	Trusted *bool       `json:"trusted,omitempty"` // export streams: whether the filter trusts who wrote it; if not, it is no evidence
	Message string      `json:"message"`
	Cursor  string      `json:"cursor,omitempty"`
	Explain *explained  `json:"explain,omitempty"`
}

type matchSummary struct {
	Kind     string `json:"kind"` // "summary"
	Lines    int    `json:"lines"`
	Failures int    `json:"failures"` // lines that are evidence
	Attempts int    `json:"attempts"` // attempts that they count
	Success  int    `json:"successes"`
	Context  int    `json:"context"`
	None     int    `json:"none"`
	Refused  int    `json:"untrusted"`
}

func runMatch(e *env, args []string) error {
	f := e.flags("match")
	asJSON := f.Bool("json", false, "one JSON object a line")
	quiet := f.Bool("matched", false, "leave out the lines that no pattern takes")
	export := f.Bool("export", false, "the input is export format; without this it is recognised")
	explain := f.String("explain", "", "show how this `line` went through; - shows it for each line of the input")
	conf := f.String("config", "", "as this `folder` (or file) configures it: its filters.d come before the built-in filters, and its jails say whom they trust")
	cursor := f.String("cursor", "", "show it for the entry of the journal at this `cursor`")
	var files list
	f.Var(&files, "file", "with --cursor: journal file or folder; may be given several times (default: this host's journal)")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	single := *cursor != "" || *explain != "" && *explain != "-"
	switch {
	case *cursor != "" && *explain != "":
		return usagef("match: --explain and --cursor exclude each other")
	case len(files) > 0 && *cursor == "":
		return usagef("match: --file goes with --cursor; other input is the second argument")
	case single:
		err = want("match", rest, 0, 1)
	default:
		err = want("match", rest, 1, 2)
	}
	if err != nil {
		return err
	}
	var one filter.Entry
	if *cursor != "" {
		at, err := entryAt(files, *cursor)
		if err != nil {
			return err
		}
		one = *at
	} else if single {
		one.UID = -1
		one.Message, one.Identifier, one.PID = splitSyslog([]byte(*explain))
	}
	if single && len(rest) == 0 {
		return e.explainEverywhere(*conf, &one, *cursor != "", *asJSON)
	}
	name, mode := rest[0], ""
	if !strings.HasSuffix(name, ".yaml") {
		name, mode, _ = strings.Cut(name, ":")
	}
	fl, err := findFilter(*conf, name)
	if err != nil && *explain != "" && slices.Contains(filter.Builtin(), *explain) {
		return usagef("match: --explain takes the line itself: bailiff match --explain 'LINE' %s", *explain)
	}
	if err != nil {
		return err
	}
	m, err := fl.With(e.trusted(*conf)[fl.Name]).Mode(mode)
	if err != nil {
		return err
	}
	in := e.in
	if len(rest) < 2 && !single && e.errTTY && terminal(os.Stdin) {
		fmt.Fprintln(e.err, "reading lines from the terminal; Ctrl-D ends them")
	}
	if len(rest) == 2 && rest[1] != "-" {
		file, err := os.Open(rest[1])
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	r := &matcher{env: e, m: m, json: *asJSON, matchedOnly: *quiet, out: bufio.NewWriterSize(e.out, 64<<10), conns: jail.NewConnections(rand.Uint64()), explaining: single || *explain == "-"}
	if single {
		var trusted *bool
		if *cursor != "" {
			t := m.Trusts(&one)
			trusted = &t
		}
		r.single = true
		if err := r.one(&one, trusted, *cursor); err != nil {
			return err
		}
		return r.out.Flush()
	}
	buf := bufio.NewReaderSize(in, 64<<10)
	head, _ := buf.Peek(4096)
	if *export || looksLikeExport(head) {
		err = r.export(buf)
	} else {
		err = r.lines(buf)
	}
	if e2 := r.finish(); err == nil {
		err = e2
	}
	return err
}

// findFilter finds a filter by name: that of a configuration that is not installed, the host's own, or a built-in one. A
// name that ends in .yaml is that of a file.
func findFilter(conf, name string) (*filter.Filter, error) {
	var l config.Loader
	dir := conf
	if st, err := os.Stat(conf); conf != "" && err != nil {
		return nil, err
	} else if conf != "" && !st.IsDir() {
		dir = filepath.Dir(conf)
	}
	file := filepath.Join(dir, "filters.d", name+".yaml")
	switch {
	case strings.HasSuffix(name, ".yaml"):
		file = name
	case conf == "" && !strings.ContainsAny(name, " /"):
		return l.Filter(name)
	case conf == "":
		return nil, hinted(fmt.Errorf("%q is not the name of a filter", name), "bailiff match FILTER FILE; bailiff filter list shows the filters")
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && file != name {
		fl, err := filter.LoadBuiltin(name)
		if err != nil {
			return nil, fmt.Errorf("%s has no filters.d/%s.yaml, and %w", dir, name, err)
		}
		return fl, nil
	}
	x := config.ReadFilterFile(file)
	return x.Filter, x.Err
}

// looksLikeExport says whether the input begins with a field of the export format: a name in capitals, then "=" or a
// line end (a length-coded value follows). No daemon's log line begins so.
func looksLikeExport(head []byte) bool {
	head = bytes.TrimLeft(head, "\n")
	i := 0
	for i < len(head) && (head[i] == '_' || head[i] >= 'A' && head[i] <= 'Z' || i > 0 && head[i] >= '0' && head[i] <= '9') {
		i++
	}
	return i > 2 && i < len(head) && (head[i] == '=' || head[i] == '\n' && bytes.HasPrefix(head, []byte("_")))
}

type matcher struct {
	*env
	m           *filter.Matcher
	json        bool
	matchedOnly bool
	out         *bufio.Writer
	conns       *jail.Connections
	sum         matchSummary
	hit         filter.Hit
	explaining  bool
	single      bool
}

func (r *matcher) export(in io.Reader) error {
	x := journal.NewExport(in, journal.Options{Fields: evidence.Fields})
	var fe filter.Entry
	for x.Next() {
		ent := x.Entry()
		evidence.Convert(ent, &fe)
		trusted := r.m.Trusts(&fe)
		if err := r.one(&fe, &trusted, ent.Cursor().String()); err != nil {
			return err
		}
	}
	return x.Err()
}

// lines reads text lines: bare messages, or as journalctl and syslog print them (time, host, identifier[pid]: message).
func (r *matcher) lines(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		msg := bytes.TrimRight(line, "\r\n")
		if len(msg) > 0 || err == nil {
			fe := filter.Entry{UID: -1}
			fe.Message, fe.Identifier, fe.PID = splitSyslog(msg)
			if err := r.one(&fe, nil, ""); err != nil {
				return err
			}
		}
		for long { // the rest of a line longer than any filter looks at
			_, err = in.ReadSlice('\n')
			long = errors.Is(err, bufio.ErrBufferFull)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *matcher) one(fe *filter.Entry, trusted *bool, cursor string) error {
	r.sum.Lines++
	h := &r.hit
	o := matchLine{Kind: "none", Line: r.sum.Lines, Trusted: trusted, Cursor: cursor, Message: strings.ToValidUTF8(string(fe.Message), "\uFFFD")}
	if r.m.MatchMessage(fe.Message, h) {
		o.Pattern = &h.Pattern.Name
		if trusted != nil && h.Pattern.RequireMessage && !fe.WholeMessage {
			trusted = new(bool)
			o.Trusted = trusted
		}
		addr := h.Addr
		conn := r.conns.Key(0, fe.Boot, fe.PID, h.ID)
		if !addr.IsValid() {
			addr, _ = r.conns.Known(conn)
		}
		if addr.IsValid() {
			o.Address = &addr
		}
		if len(h.User) > 0 {
			u := strings.ToValidUTF8(string(h.User), "\uFFFD")
			o.User = &u
		}
		if h.Port != 0 {
			o.Port = &h.Port
		}
		counts := trusted == nil || *trusted
		line := jail.Attempt{At: fe.Realtime, Pattern: h.Pattern.Name, Attempts: max(1, h.Repeat), Stage: h.Pattern.Stage, Source: uint32(jail.Hash(h.Source, 1))}
		seen := func(a *jail.Attempt) {
			n := r.conns.Count(conn, addr, a)
			o.Count += n
			r.sum.Attempts += n
		}
		switch {
		case h.Kind == filter.Success, h.Kind == filter.Delivery, h.Kind == filter.Void:
			o.Kind = h.Kind.String()
		case h.Kind == filter.Failure && addr.IsValid():
			o.Kind = "failure"
		default: // a failure without an address is none before a later line of its connection tells the address
			o.Kind = "context"
		}
		if counts && (h.Kind == filter.Failure || h.Kind == filter.Context) {
			if addr.IsValid() {
				r.conns.Join(conn, addr, fe.Realtime)
				if w, ok := r.conns.TakeWaiting(conn); ok {
					if o.Kind == "context" {
						o.Kind, o.Pattern = "failure", &w.Pattern
					}
					seen(&w)
				}
				if h.Kind == filter.Failure {
					seen(&line)
				}
			} else if h.Kind == filter.Failure {
				r.conns.Wait(conn, line)
			}
		}
		if counts {
			switch o.Kind {
			case "failure":
				r.sum.Failures++
			case "success":
				r.sum.Success++
			default:
				r.sum.Context++
			}
		}
		if !counts {
			r.sum.Refused++
		}
	} else {
		r.sum.None++
		if r.matchedOnly {
			return nil
		}
	}
	var x *filter.Explanation
	if r.explaining {
		x = r.m.Explain(fe.Message)
	}
	switch {
	case r.json:
		if x != nil {
			o.Explain = explainJSON(r.m, x, trustText(r.m, x, fe, trusted != nil))
		}
		return printJSON(r.out, o)
	case x != nil:
		if err := r.human(&o); err != nil {
			return err
		}
		r.explain(r.out, r.m, x, trustText(r.m, x, fe, trusted != nil))
		return nil
	}
	return r.human(&o)
}

func (r *matcher) human(o *matchLine) error {
	what := o.Kind
	if o.Pattern != nil {
		what += " " + *o.Pattern
	}
	if o.Address != nil {
		what += " " + o.Address.String()
	}
	if o.User != nil {
		what += " user " + clean(*o.User)
	}
	switch {
	case o.Trusted != nil && !*o.Trusted && o.Kind != "none":
		what += " (not trusted: no evidence)"
	case o.Kind == "failure" && o.Count == 0:
		what += " (same attempt: counted already)"
	case o.Kind == "context":
		what += " (no failure by itself: it belongs to a connection)"
	case o.Kind == "none":
		if mode := r.otherMode(o.Message); mode != "" {
			what += " in mode " + r.m.Mode + " (mode " + mode + " takes it)"
		}
	case o.Count > 1:
		what += fmt.Sprintf(" (%d attempts)", o.Count)
	}
	code := faint
	switch o.Kind {
	case "failure":
		code = red
	case "success":
		code = green
	}
	place := ""
	if !r.single {
		place = fmt.Sprintf("%d: ", o.Line)
	}
	_, err := fmt.Fprintf(r.out, "%s%s\n    %s\n", place, r.paint(code, what), clean(o.Message))
	return err
}

// otherMode is a mode of the filter that takes a line which this one does not; "" if there is none.
func (r *matcher) otherMode(message string) string {
	for _, mode := range r.m.Filter.Modes {
		var h filter.Hit
		if m, err := r.m.Filter.Mode(mode); err == nil && m != r.m && m.MatchMessage([]byte(message), &h) {
			return mode
		}
	}
	return ""
}

func (r *matcher) finish() error {
	s := &r.sum
	s.Kind = "summary"
	if r.json {
		if err := printJSON(r.out, s); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(r.out, "%s: %s (%s), %d successes, %d context, %d without a match", plural(s.Lines, "line"), plural(s.Failures, "failure"), plural(s.Attempts, "attempt"), s.Success, s.Context, s.None)
		if s.Refused > 0 {
			fmt.Fprintf(r.out, ", %d not trusted", s.Refused)
		}
		fmt.Fprintln(r.out)
	}
	return r.out.Flush()
}

// splitSyslog takes the head off a line as journalctl (short, short-iso, …), rsyslog and syslogd write it. A line
// without such a head is a message as it is.
func splitSyslog(line []byte) (msg, ident []byte, pid uint32) {
	rest, ok := afterTime(line)
	if !ok {
		return line, nil, 0
	}
	// Behind the time: host, then identifier[pid]: or identifier: .
	sp := bytes.IndexByte(rest, ' ')
	if sp <= 0 {
		return line, nil, 0
	}
	rest = rest[sp+1:]
	colon := bytes.Index(rest, []byte(": "))
	if colon <= 0 || bytes.IndexByte(rest[:colon], ' ') >= 0 {
		return line, nil, 0
	}
	tag := rest[:colon]
	if i := bytes.IndexByte(tag, '['); i > 0 && tag[len(tag)-1] == ']' {
		if n, err := strconv.ParseUint(string(tag[i+1:len(tag)-1]), 10, 32); err == nil {
			pid = uint32(n)
		}
		tag = tag[:i]
	}
	return rest[colon+2:], tag, pid
}

// afterTime finds a leading "Nov 22 14:39:47 " or ISO 8601 time, behind an optional <priority>.
func afterTime(l []byte) ([]byte, bool) {
	if len(l) > 4 && l[0] == '<' {
		if i := bytes.IndexByte(l[:min(len(l), 6)], '>'); i > 0 {
			l = l[i+1:]
		}
	}
	if len(l) > 16 && l[3] == ' ' && l[6] == ' ' && l[9] == ':' && l[12] == ':' {
		if !bytes.Contains([]byte("JanFebMarAprMayJunJulAugSepOctNovDec"), l[:3]) {
			return nil, false
		}
		l = l[15:]
		if l[0] == '.' { // short-precise
			if i := bytes.IndexByte(l, ' '); i > 0 {
				l = l[i:]
			}
		}
		return l[1:], l[0] == ' '
	}
	if len(l) > 20 && l[4] == '-' && l[7] == '-' && (l[10] == 'T' || l[10] == ' ') && l[13] == ':' && l[16] == ':' {
		if i := bytes.IndexByte(l[11:], ' '); i > 0 {
			return l[11+i+1:], true
		}
	}
	return nil, false
}
