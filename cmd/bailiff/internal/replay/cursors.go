package replay

import (
	"context"

	"bailiff/cmd/bailiff/internal/past"
	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/jail"
)

func newCursors(ctx context.Context, in *past.Input) (cursors, error) {
	if in.Stream() {
		return &streamCursors{texts: map[string]string{}}, nil
	}
	src, err := in.Source()
	if err != nil {
		return nil, err
	}
	return &fileCursors{ctx: ctx, lookup: journal.Finder{Source: src, Options: journal.Options{Fields: evidence.Fields[messageField : messageField+1], MaxValue: evidence.MaxValue}}}, nil
}

// fileCursors looks cursors up in the journal.
type fileCursors struct {
	ctx    context.Context
	refs   evidence.RefTable
	lookup journal.Finder
}

func (c *fileCursors) ref(e *journal.Entry) jail.Ref { return c.refs.Ref(e.SeqnumID, e.Seqnum) }

func (c *fileCursors) keep(jail.Ref, *journal.Entry) {}

func (c *fileCursors) text(ref jail.Ref) string {
	if ev, ok := evidence.Of(ref, c.refs.Sources()); ok {
		return ev.Text(&c.lookup)
	}
	return ""
}

// messages reads the messages of entries again, as far as the journal still has them.
func (c *fileCursors) messages(cursors []string) (lines []string) {
	for _, cursor := range cursors {
		if entry, err := c.lookup.Find(cursor); err == nil && c.ctx.Err() == nil {
			lines = append(lines, string(entry.Field(0)))
		}
	}
	return lines
}

func (c *fileCursors) close() { c.lookup.Close() }

// streamCursors keeps all cursors and messages of entries that a filter knew: a stream cannot be read twice.
type streamCursors struct {
	all   []string // by reference
	texts map[string]string
}

func (c *streamCursors) ref(*journal.Entry) jail.Ref {
	if n := len(c.all); n == 0 || c.all[n-1] != "" {
		c.all = append(c.all, "")
	}
	return jail.Ref(len(c.all) - 1)
}

func (c *streamCursors) keep(ref jail.Ref, e *journal.Entry) {
	cursor := e.Cursor
	c.all[ref] = cursor.String()
	c.texts[c.all[ref]] = string(e.Field(messageField))
}

// messageField is the place of MESSAGE in evidence.Fields.
const messageField = 0

func (c *streamCursors) text(ref jail.Ref) string { return c.all[ref] }

func (c *streamCursors) messages(cursors []string) (lines []string) {
	for _, cursor := range cursors {
		lines = append(lines, c.texts[cursor])
	}
	return lines
}

func (c *streamCursors) close() {}
