package filters

import (
	"bufio"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/policy/filter"
)

type matchOptions struct {
	matched, export         bool
	explain, config, cursor string
	files                   []string
}

// Match is `bailiff match`.
func Match() *cli.Command {
	c := cli.New("match", "[FILTER[:MODE]] [FILE]", "try lines on a filter, and show how they matched").WithJSON()
	c.Completes = cli.Filters
	var o matchOptions
	c.Flags.BoolVar(&o.matched, "matched", false, "leave out the lines that no pattern matches")
	c.Flags.BoolVar(&o.export, "export", false, "the input is export format; without this it is recognised")
	c.Flags.StringVar(&o.explain, "explain", "", "show how this `LINE` matched; - shows it for each line of the input")
	c.Flags.StringVar(&o.cursor, "cursor", "", "show how the journal entry at this `CURSOR` matched")
	conf := settings.Option(c)
	files := past.FilesOption(c, "with --cursor, read")
	return c.Does(func(e *cli.Env, args []string) error {
		o.config, o.files = *conf, *files
		return match(e, o, args)
	})
}

func match(e *cli.Env, o matchOptions, args []string) error {
	single := o.cursor != "" || o.explain != "" && o.explain != "-"
	switch {
	case o.cursor != "" && o.explain != "":
		return cli.Usagef("match: --explain and --cursor exclude each other")
	case len(o.files) > 0 && o.cursor == "":
		return cli.Usagef("match: --file goes with --cursor; other input is the second argument")
	case single && len(args) > 1:
		return cli.Usagef("match: unexpected argument %q (bailiff match -h)", args[1])
	case !single && len(args) == 0:
		return cli.Usagef("match: missing FILTER (bailiff match -h)")
	}
	var one *filter.Entry // of --cursor or --explain LINE
	switch {
	case o.cursor != "":
		var err error
		if one, err = entryAt(o.files, o.cursor); err != nil {
			return err
		}
	case single:
		one = lineEntry([]byte(o.explain))
	}
	e, flush := e.Buffered()
	defer flush()
	if len(args) == 0 {
		return explainEverywhere(e, o.config, one, o.cursor != "")
	}
	m, err := matcherOf(e, o, args[0])
	if err != nil {
		return err
	}
	r := newMatching(e, m, o.matched, single || o.explain == "-")
	if single {
		return r.single(one, o.cursor)
	}
	in, done, err := input(e, args[1:])
	if err != nil {
		return err
	}
	defer done()
	err = r.read(in, o.export)
	if e2 := r.finish(); err == nil {
		err = e2
	}
	return err
}

// matcherOf is the filter that an argument names, FILTER or FILTER:MODE, with what the configuration trusts besides.
func matcherOf(e *cli.Env, o matchOptions, arg string) (*filter.Matcher, error) {
	name, mode := arg, ""
	if !strings.HasSuffix(name, ".yaml") {
		name, mode, _ = strings.Cut(name, ":")
	}
	x, err := find(o.config, name)
	if err == nil {
		err = x.Err
	}
	if err != nil && o.explain != "" && slices.Contains(filter.Builtin(), o.explain) {
		return nil, cli.Usagef("match: --explain takes the line: bailiff match --explain 'LINE' %s", o.explain)
	}
	if err != nil {
		return nil, err
	}
	return x.Filter.With(additions(e, o.config)[x.Filter.Name]).Mode(mode)
}

// input is the file that an argument names, or standard input.
func input(e *cli.Env, args []string) (in io.Reader, done func() error, err error) {
	if len(args) == 0 || args[0] == "-" {
		if e.InTTY {
			e.Notef("reading lines from standard input; Ctrl-D ends it")
		}
		return e.In, func() error { return nil }, nil
	}
	file, err := os.Open(args[0])
	if err != nil {
		return nil, nil, err
	}
	return file, file.Close, nil
}

// exportField is how input in the export format begins: a name in capitals, then "=" or a line end (a value with its length
// follows). No service's log line begins like that.
var exportField = regexp.MustCompile(`^\n*(?:[A-Z_][A-Z0-9_]{2,}=|_[A-Z0-9_]{2,}\n)`)

func looksLikeExport(in *bufio.Reader) bool {
	head, _ := in.Peek(4096)
	return exportField.Match(head)
}
