package agent

import (
	"time"

	"bailiff/policy/bucket"
	"bailiff/policy/fleet"
)

// floodLimit bounds the messages read of one host, whatever their signature: a check takes 40 µs, and a host may send as fast as the hub
// lets it. Twice all that an honest host can say, then 50 a second.
var floodLimit = bucket.Limit{Size: 2 * maxOwn, Every: time.Second / 50}

// floods limits the messages of each host. Names come from subjects, so a hub may invent them: there are at
// most maxFlooders of them.
type floods struct {
	hosts   map[string]*flooder
	worst   string // the host with the most skipped messages; "": none skipped
	skipped uint64
}

const maxFlooders = 1 << 16

type flooder struct {
	rate      bucket.Bucket
	summaries bucket.Bucket
	skipped   uint64
}

// admit reports whether a message of a host is looked at.
func (f *floods) admit(host string, now time.Time) bool {
	h := f.hosts[host]
	if h == nil {
		if len(f.hosts) >= maxFlooders || len(host) > 64 {
			return false
		}
		if f.hosts == nil {
			f.hosts = make(map[string]*flooder)
		}
		h = new(flooder)
		f.hosts[host] = h
	}
	if h.rate.Take(floodLimit, now) == 0 {
		return true
	}
	if h.skipped++; h.skipped > f.skipped {
		f.worst, f.skipped = host, h.skipped
	}
	return false
}

// admitSummary is admit for a summary of failures. Of one host no more are let through than a daemon takes, so that they do not fill the
// queue that all hosts share.
func (f *floods) admitSummary(host string, now time.Time) bool {
	return f.admit(host, now) && f.hosts[host].summaries.Take(bucket.PerMinute(fleet.SummaryRate), now) == 0
}

// admitPage is admit for a page, which counts as all the messages that it may replace.
func (f *floods) admitPage(host string, now time.Time) bool {
	for range fleet.PageNews {
		if !f.admit(host, now) {
			return false
		}
	}
	return true
}

// reset clears counts when all is read again.
func (f *floods) reset() {
	for _, h := range f.hosts {
		*h = flooder{}
	}
	f.worst, f.skipped = "", 0
}
