package abuseipdb

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver/web"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

const (
	// MaxRows is how many reports one file may hold.
	MaxRows = 10_000

	// BulkFrom is from how many reports on a file is worth one of the few that an account has a day: 5 for a free one, against
	// 1,000 single reports.
	BulkFrom = 20

	maxFile = 2 << 20 // bytes
	rowRest = 30      // bytes of a row beside its cells' texts, and its time: commas, quotes, newline
)

// ComposeAll makes the entries of several reports, one for each address, oldest first: the service takes an address once in 15
// minutes, so of several the newest stays, with the categories of all. skipped says why others are not told about. If nothing
// is left the error is the first of those reasons.
func ComposeAll(reports []*report.Report, d *config.Destination, test bool, now time.Time) (entries []*Entry, skipped []error, err error) {
	last := make(map[netip.Addr]int, len(reports))
	for _, r := range reports {
		e, err := Compose(r, d, test, now)
		if err != nil {
			skipped = append(skipped, err)
			continue
		}
		if i, ok := last[e.IP]; ok {
			e.Categories = sorted(append(e.Categories, entries[i].Categories...))
			entries[i] = nil
		}
		last[e.IP] = len(entries)
		entries = append(entries, e)
	}
	entries = slices.DeleteFunc(entries, func(e *Entry) bool { return e == nil })
	if len(entries) == 0 {
		if len(skipped) == 0 {
			skipped = []error{&report.Refused{Err: errors.New("nothing to report")}}
		}
		return nil, skipped, skipped[0]
	}
	return entries, skipped, nil
}

// CSV is the file for /bulk-report: at most MaxRows entries, and no more bytes than the service takes, for which comments are
// cut where they must be. No cell is a formula to a spreadsheet that somebody opens it with, and none holds a newline or a
// quote, over which parsers of CSV disagree.
func CSV(entries []*Entry) []byte {
	if len(entries) > MaxRows {
		panic(fmt.Sprintf("abuseipdb: %d rows", len(entries)))
	}
	most := maxComment
	if n := len(entries); n > 0 {
		room := maxFile
		for _, e := range entries {
			room -= len(e.IP.String()) + len(e.categories()) + len(time.RFC3339) + rowRest
		}
		most = min(most, room/n) // which is 50 at least, with MaxRows and maxCategories
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	write := func(cells ...string) {
		if err := w.Write(cells); err != nil {
			panic(err) // a bytes.Buffer takes everything
		}
	}
	write("IP", "Categories", "ReportDate", "Comment")
	for _, e := range entries {
		write(e.IP.String(), e.categories(), stamp(e.Time), cell(e.Comment, most))
	}
	w.Flush()
	return b.Bytes()
}

var plain = strings.NewReplacer("\n", " | ", `"`, "'")

// cell makes a comment a cell. It begins with the filter's name; whatever that is, it begins no formula.
func cell(s string, most int) string {
	s = safetext.Line(plain.Replace(s), most)
	if strings.IndexAny(s, "=+-@") == 0 {
		s = "'" + s[1:]
	}
	return s
}

// JudgeBulk reads the answer to a file of so many entries.
func JudgeBulk(a *web.Answer, sent int, now time.Time) (report.Receipt, error) {
	s, dup, err := read(a, now)
	if err != nil {
		return report.Receipt{}, err
	}
	if dup { // a short-term limit of the endpoint itself; its rows were not looked at
		return report.Receipt{}, &report.Retry{After: 15 * time.Minute, Err: errors.New(who + " takes no file for 15 minutes")}
	}
	if s.Data.Saved == nil {
		return report.Receipt{}, &report.Retry{Err: errors.New(who + " does not say how many reports it took")}
	}
	known, bad := 0, ""
	for _, i := range s.Data.Invalid {
		if strings.Contains(strings.ToLower(i.Error), "duplicate") {
			known++
		} else if len(bad) < 200 {
			bad += fmt.Sprintf("; row %d, %s: %s", i.Row, i.Input, i.Error)
		}
	}
	refused := len(s.Data.Invalid) - known
	text := fmt.Sprintf("%d of %d taken", *s.Data.Saved, sent)
	if known > 0 {
		text += fmt.Sprintf(", %d known already", known)
	}
	if refused > 0 {
		text += fmt.Sprintf(", %d refused%s", refused, bad)
	}
	text = safetext.Line(text, web.MaxText)
	if *s.Data.Saved <= 0 && refused > 0 && known == 0 {
		return report.Receipt{}, &report.Refused{Err: errors.New(who + ": " + text)}
	}
	return report.Receipt{Answer: text, Duplicate: *s.Data.Saved <= 0 && known > 0}, nil
}
