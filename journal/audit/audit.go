// Package audit writes the daemon's own journal entries: every decision with its evidence, under a fixed MESSAGE_ID for
// each kind, so that the journal itself tells who was banned, when, and why. It decides nothing, reads no journal, and
// never makes the daemon wait: entries go through a bounded queue.
//
// Start reading at Writer (writer.go). kind.go holds the kinds and their ids, event.go the entries about bans and how
// they are read back, native.go journald's wire format.
package audit

import (
	"strconv"

	"github.com/coreos/go-systemd/v22/journal"
)

// Unit is the service that writes the audit trail. Entries count as ours only if journald reports this unit.
const Unit = "bailiff.service"

// Priority is syslog's, as in PRIORITY=.
type Priority = journal.Priority

// The priorities in use.
const (
	Crit    = journal.PriCrit
	Err     = journal.PriErr
	Warning = journal.PriWarning
	Notice  = journal.PriNotice
	Info    = journal.PriInfo
	Debug   = journal.PriDebug
)

// Field is one field of an entry. A name may come several times in one entry: journald keeps all values, and a match on
// any of them finds the entry.
type Field struct{ Name, Value string }

// Entry is one journal entry of ours.
type Entry struct {
	Kind     Kind // KindLog: no MESSAGE_ID
	Priority Priority
	Message  string
	Fields   []Field
}

// Event is an entry of a kind at that kind's usual priority.
func Event(k Kind, message string, fields ...Field) Entry {
	return Entry{Kind: k, Priority: k.Priority(), Message: message, Fields: fields}
}

// encode gives the entry in journald's native format.
func (e *Entry) encode(identifier string) []byte {
	b := make([]byte, 0, 512+len(e.Message))
	b = appendField(b, "MESSAGE", e.Message)
	b = appendField(b, "PRIORITY", strconv.Itoa(int(e.Priority)))
	if identifier != "" {
		b = appendField(b, "SYSLOG_IDENTIFIER", identifier)
	}
	if id := e.Kind.ID(); id != "" {
		b = appendField(b, "MESSAGE_ID", id)
	}
	for _, f := range e.Fields {
		b = appendField(b, f.Name, f.Value)
	}
	return b
}
