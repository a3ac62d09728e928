// Package past reads journal entries of the past for the commands that look back: this host's journal, journal files and
// folders, or an export stream, between --since and --until. Engine decides about them as the daemon would have. Start
// reading with Input.
package past

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/journal"
	"bailiff/policy/diag"
)

// Input is the part of the past that the options of a command choose.
type Input struct {
	Since, Until time.Time // zero: no bound

	files        *[]string
	export       *string
	since, until *string
	sinceDefault string // of this host's journal
}

// FilesOption adds --file, for a command that reads journal files or this host's journal.
func FilesOption(c *cli.Command, usage string) *[]string {
	return c.List("file", usage+" `PATH`: a journal file or a folder of them (default: this host's journal)")
}

// Options adds --file, --export, --since and --until. sinceDefault is where reading of this host's journal begins without
// --since; "" reads all of it.
func Options(c *cli.Command, sinceDefault string) *Input {
	begin := "begin at this `TIME`: today, yesterday, \"1 hour ago\", -2h, 13:00, 2026-11-22, \"2026-11-22 19:17\", RFC 3339, @SECONDS"
	if sinceDefault != "" {
		begin += " (default: -" + sinceDefault + " in this host's journal, else the first entry)"
	}
	return &Input{
		files:        FilesOption(c, "read"),
		export:       c.Flags.String("export", "", "read what journalctl -o export wrote from this `FILE`; - is standard input"),
		since:        c.Flags.String("since", "", begin),
		until:        c.Flags.String("until", "", "end at this `TIME`"),
		sinceDefault: sinceDefault,
	}
}

// Resolve checks the options and sets Since and Until.
func (in *Input) Resolve(name string, now time.Time) (err error) {
	if len(*in.files) > 0 && *in.export != "" {
		return cli.Usagef("%s: --file and --export exclude each other", name)
	}
	since := *in.since
	if since == "" && in.Host() {
		since = in.sinceDefault
	}
	if in.Since, err = text.ParseTime(since, now); err != nil {
		return cli.Usagef("%s: --since: %v", name, err)
	}
	if in.Until, err = text.ParseTime(*in.until, now); err != nil {
		return cli.Usagef("%s: --until: %v", name, err)
	}
	return nil
}

// Host reports whether this host's own journal is read.
func (in *Input) Host() bool { return len(*in.files) == 0 && *in.export == "" }

// Stream reports whether the input can be read only once.
func (in *Input) Stream() bool { return *in.export != "" }

// Source is the journal that is read, if it is no stream.
func (in *Input) Source() (journal.Source, error) { return journal.Paths(*in.files...) }

// OpenAt opens a journal at the first entry since a time; the zero time is the beginning.
func OpenAt(src journal.Source, o journal.Options, since time.Time) (*journal.Reader, error) {
	j, err := journal.Open(src, o)
	if err == nil && !since.IsZero() {
		j.SeekRealtime(micro(since))
	}
	return j, err
}

func micro(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(0, t.UnixMicro()))
}

// tickEntries is the number of entries between two ticks of Each.
const tickEntries = 1 << 16

// Each calls f for every entry that matches. tick is called now and then with the time of the entry read, in microseconds;
// what it returns is shown as progress on a terminal. Damage in the journal is reported on standard error; it is an
// error only if no entry could be read.
func (in *Input) Each(e *cli.Env, o journal.Options, tick func(at int64) string, f func(*journal.Entry) error) error {
	entries := 0
	since, until := micro(in.Since), micro(in.Until)
	progress := e.Progress()
	defer progress.Clear()
	one := func(entry *journal.Entry) error {
		if entries++; entries%tickEntries == 0 {
			if e.Ctx.Err() != nil {
				return errors.New("interrupted")
			}
			at := int64(entry.Realtime)
			progress.Show("%s  %s, %s", text.Micro(at), diag.Count(entries, "entry"), tick(at))
		}
		return f(entry)
	}
	if in.Stream() {
		return in.eachOfStream(e.In, o, since, until, one)
	}
	src, err := in.Source()
	if err != nil {
		return err
	}
	j, err := OpenAt(src, o, in.Since)
	if err != nil {
		return err
	}
	defer j.Close()
	for j.Next() {
		if until != 0 && j.Entry().Realtime > until {
			break
		}
		if err := one(j.Entry()); err != nil {
			return err
		}
	}
	progress.Clear()
	if reportProblems(e, j) && entries == 0 {
		return cli.ErrSilent
	}
	return nil
}

func (in *Input) eachOfStream(stdin io.Reader, o journal.Options, since, until uint64, f func(*journal.Entry) error) error {
	from := stdin
	if *in.export != "-" {
		file, err := os.Open(*in.export)
		if err != nil {
			return err
		}
		defer file.Close()
		from = file
	}
	x := journal.NewExport(from, o)
	for x.Next() {
		if at := x.Entry().Realtime; at < since || until != 0 && at > until {
			continue
		}
		if err := f(x.Entry()); err != nil {
			return err
		}
	}
	return x.Err()
}

// reportProblems writes what is wrong with a journal, and reports whether any part of it could not be read.
func reportProblems(e *cli.Env, j *journal.Reader) (incomplete bool) {
	var hints []string
	for _, p := range j.Problems() {
		incomplete = incomplete || journal.Incomplete(p)
		fmt.Fprintf(e.Err, "bailiff: %v\n", p)
		if h := journal.Hint(p); h != "" && !slices.Contains(hints, h) {
			hints = append(hints, h)
		}
	}
	for _, h := range hints {
		e.Hintf("%s", h)
	}
	return incomplete
}
