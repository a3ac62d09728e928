package daemon

import (
	"fmt"
	"slices"
	"time"

	"bailiff/journal/audit"
	"bailiff/units/control"
)

// problems are what an operator should look at now. They stand until their source says that they are over; those that only
// ever happen, for a day.
type problems struct {
	list []problem
}

type problem struct {
	control.Problem
	until time.Time // zero: until its source clears it
}

// maxProblems bounds what status shows; the journal has them all.
const maxProblems = 64

// happenedFor is how long status shows something that happened once.
const happenedFor = 24 * time.Hour

// set makes texts all that stands for a source, without any nothing. It returns those that did not stand before.
func (p *problems) set(now, until time.Time, source string, texts ...string) (news []string) {
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
		news = append(news, t)
	}
	return news
}

// now lists what stands.
func (p *problems) now(now time.Time) control.Problems {
	p.list = slices.DeleteFunc(p.list, func(x problem) bool { return !x.until.IsZero() && now.After(x.until) })
	l := make(control.Problems, 0, len(p.list))
	for _, x := range p.list {
		l = append(l, x.Problem)
	}
	return l
}

// problem notes something that is wrong with a source until solved is called. Each time that it comes up it goes into the
// audit trail.
func (d *daemon) problem(k audit.Kind, source, text string) {
	for _, t := range d.problems.set(time.Now(), time.Time{}, source, text) {
		d.aud.Event(k, t)
	}
}

// solved says that nothing is wrong with a source any more.
func (d *daemon) solved(source string) { d.problems.set(time.Now(), time.Time{}, source) }

// happened notes something that an operator should know, and that nothing will mend.
func (d *daemon) happened(k audit.Kind, source, text string) {
	now := time.Now()
	for _, t := range d.problems.set(now, now.Add(happenedFor), source, text) {
		d.aud.Event(k, t)
	}
}

// lookAtProblems takes over what is known elsewhere. What comes up there is told in the audit trail already.
func (d *daemon) lookAtProblems(now time.Time) {
	is := func(source string, wrong bool, format string, args ...any) {
		if wrong {
			d.problems.set(now, time.Time{}, source, fmt.Sprintf(format, args...))
		} else {
			d.problems.set(now, time.Time{}, source)
		}
	}
	is("firewall", !d.fw.OK, "firewall: %s", or(d.fw.Error, "it has not answered since the start"))
	helper := ""
	if d.self.err != nil {
		helper = d.selfProblem()
	}
	is("netlink helper", helper != "", "%s", helper)
	is("configuration", d.configErr != "", "the configuration on disk was refused: %s", d.configErr)
	is("state file", d.saveErr != nil, "the state cannot be saved: %v", d.saveErr)
	is("rate limit", !d.droppedAt.IsZero() && now.Sub(d.droppedAt) < happenedFor, "journald suppressed messages by its rate limit: %d since start", d.js.Dropped)
	st := d.aud.Stats()
	is("audit trail", st.Err != "", "audit entries wait: %s", st.Err)
	is("lost audit entries", st.Lost > 0, "%d audit entries could not be written", st.Lost)
	d.problems.set(now, time.Time{}, "allow lists", d.lists.Problems(d.conf.Allow.Lists, now)...)
	d.problems.set(now, time.Time{}, journalFiles, d.js.Problems...)
}
