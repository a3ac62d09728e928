// Package audit writes bailiff's own journal entries: every decision with its evidence, with a fixed MESSAGE_ID for each kind, so that the
// journal shows who was banned, when and why. Entries go through a bounded queue, so a journald that hangs never blocks the daemon. The
// package decides nothing and reads no journal.
//
// Start reading at Writer (writer.go). kind.go holds the kinds and their ids, event.go builds the entries about bans, parse.go reads them
// back, and native.go implements journald's protocol.
package audit

import (
	"strconv"

	"github.com/coreos/go-systemd/v22/journal"
)

// Unit is the service that writes the audit trail. Entries count as ours only if journald reports this unit.
const Unit = "bailiff.service"

// Priority is a syslog priority, as in PRIORITY=.
type Priority = journal.Priority

// Priorities.
const (
	Crit    = journal.PriCrit
	Err     = journal.PriErr
	Warning = journal.PriWarning
	Notice  = journal.PriNotice
	Info    = journal.PriInfo
)

// Field is one field of an entry. An entry may have several fields of the same name: journald keeps all values, and a match on any of them
// finds the entry.
type Field struct{ Name, Value string }

// Entry is one journal entry to be written.
type Entry struct {
	Kind     Kind // KindLog: no MESSAGE_ID
	Priority Priority
	Message  string
	Fields   []Field
}

// Event is an entry of a kind at the kind's usual priority.
func Event(k Kind, message string, fields ...Field) Entry {
	return Entry{Kind: k, Priority: k.Priority(), Message: message, Fields: fields}
}

// encode returns the entry in journald's native format.
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
