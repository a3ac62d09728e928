package daemon

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"bailiff/journal/audit"
	"bailiff/units/control"
)

const (
	// maxProblems bounds what status shows; the journal has all of them.
	maxProblems = 64

	// eventTime is how long status shows something that happened once.
	eventTime = 24 * time.Hour
)

// problems are what an operator should know now. A problem lasts until its source reports that it is over; one that just happened
// lasts for a day.
type problems struct {
	list []problem
}

type problem struct {
	control.Problem
	until time.Time // zero: until its source clears it
}

// set replaces the problems of a source by texts, none to clear them. It returns those that are new.
func (p *problems) set(now, until time.Time, source string, texts ...string) (added []string) {
	p.list = slices.DeleteFunc(p.list, func(x problem) bool {
		return x.Source == source && !slices.Contains(texts, x.Text) || !x.until.IsZero() && now.After(x.until)
	})
	for _, t := range texts {
		i := slices.IndexFunc(p.list, func(x problem) bool { return x.Source == source && x.Text == t })
		if i >= 0 {
			p.list[i].until = until
			continue
		}
		if len(p.list) >= maxProblems {
			p.list = slices.Delete(p.list, 0, 1)
		}
		p.list = append(p.list, problem{control.Problem{Source: source, Text: t, Since: now}, until})
		added = append(added, t)
	}
	return added
}

// now lists the current problems.
func (p *problems) now(now time.Time) control.Problems {
	p.list = slices.DeleteFunc(p.list, func(x problem) bool { return !x.until.IsZero() && now.After(x.until) })
	l := make(control.Problems, 0, len(p.list))
	for _, x := range p.list {
		l = append(l, x.Problem)
	}
	return l
}

// problemLog is problems that are also written to the audit trail, each once while it lasts, and when it is over.
type problemLog struct {
	problems
	aud  *audit.Writer
	told map[string]string // by source, what was written and is not over
}

// begin records that something is wrong with a source, until end is called.
func (p *problemLog) begin(k audit.Kind, source, text string) {
	p.write(k, source, p.set(time.Now(), time.Time{}, source, text))
}

// end records that nothing is wrong with a source any more.
func (p *problemLog) end(source string) {
	p.set(time.Now(), time.Time{}, source)
	if text, ok := p.told[source]; ok {
		delete(p.told, source)
		p.aud.Event(audit.KindRecovered, "no longer: "+text, audit.Field{Name: audit.FieldProblem, Value: source})
	}
}

// happened records an event that an operator should know about and that has no end.
func (p *problemLog) happened(k audit.Kind, source, text string) {
	now := time.Now()
	for _, t := range p.set(now, now.Add(eventTime), source, text) {
		p.aud.Event(k, t, audit.Field{Name: audit.FieldProblem, Value: source})
	}
}

func (p *problemLog) write(k audit.Kind, source string, texts []string) {
	for _, t := range texts {
		p.tell(k, source, t)
	}
}

// tell writes a problem that is set and cleared elsewhere.
func (p *problemLog) tell(k audit.Kind, source, text string, fields ...audit.Field) {
	if _, again := p.told[source]; !again {
		fields = append(fields, audit.Field{Name: audit.FieldProblem, Value: source})
	}
	if p.told == nil {
		p.told = make(map[string]string)
	}
	p.told[source] = text
	p.aud.Event(k, text, fields...)
}

// updateProblems takes over the problems that are known elsewhere, where they have been written to the audit trail already.
func (d *daemon) updateProblems(now time.Time) {
	is := func(source string, wrong bool, format string, args ...any) {
		if wrong {
			d.problems.set(now, time.Time{}, source, fmt.Sprintf(format, args...))
		} else {
			d.problems.end(source)
		}
	}
	is("firewall", !d.firewall.status.OK, "firewall: %s", cmp.Or(d.firewall.status.Error, "it has not answered since the start"))
	is("netlink helper", d.self.err != nil, "%s", d.self.problem())
	is("configuration", d.configErr != "", "the configuration on disk was rejected: %s", d.configErr)
	is("state file", d.saver.err != nil, "the state cannot be saved: %v", d.saver.err)
	is("rate limit", d.journal.dropped.After(now.Add(-eventTime)), "journald suppressed messages by its rate limit: %d since start", d.journal.status.Dropped)
	st := d.aud.Stats()
	is("audit trail", st.Err != "", "audit entries are waiting: %s", st.Err)
	is("lost audit entries", st.Lost > 0, "%d audit entries could not be written", st.Lost)
	d.problems.set(now, time.Time{}, "allow lists", d.lists.Problems(d.conf.Allow.Lists, now)...)
	d.problems.set(now, time.Time{}, "block lists", d.blocks.problems(d.noBlockLists(), now)...)
	d.problems.set(now, time.Time{}, "other hosts", append(d.others.problems(), d.others.agentProblems(now)...)...)
	d.journalFileProblems(now)
}

// journalFileProblems takes over the problems with journal files, and writes the new ones to the audit trail.
func (d *daemon) journalFileProblems(now time.Time) {
	if texts := d.journal.status.Problems; len(texts) > 0 {
		d.problems.write(audit.KindJournalProblem, journalFiles, d.problems.set(now, time.Time{}, journalFiles, texts...))
	} else {
		d.problems.end(journalFiles)
	}
}
