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

	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

const (
	maxRows = 10_000 // reports in one file

	// bulkMin is the number of reports from which a file is sent. A free account may send 5 files and 1,000 single reports a day.
	bulkMin = 20

	maxFile = 2 << 20 // bytes
	rowRest = 30      // bytes of a row without its cells: commas, quotes, newline
)

// composeAll makes the entries of several reports, oldest first and one for each address, since AbuseIPDB takes an address once in 15
// minutes: the newest report, with the categories of all. skipped says why other reports are left out. If none is left, the error is
// the first of these reasons.
func composeAll(reports []*report.Report, d *config.Destination, test bool, now time.Time) (entries []*entry, skipped []error, err error) {
	last := make(map[netip.Addr]int, len(reports))
	for _, r := range reports {
		e, err := compose(r, d, test, now)
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
	entries = slices.DeleteFunc(entries, func(e *entry) bool { return e == nil })
	if len(entries) == 0 {
		if len(skipped) == 0 {
			skipped = []error{&report.Refused{Err: errors.New("nothing to report")}}
		}
		return nil, skipped, skipped[0]
	}
	return entries, skipped, nil
}

// csvFile is the file for /bulk-report with at most maxRows entries. Comments are cut so that the file is not too large. No cell is a
// formula for a spreadsheet, and none contains a newline or a quote, since CSV parsers differ there.
func csvFile(entries []*entry) []byte {
	if len(entries) > maxRows {
		panic(fmt.Sprintf("abuseipdb: %d rows", len(entries)))
	}
	limit := maxComment
	if n := len(entries); n > 0 {
		room := maxFile
		for _, e := range entries {
			room -= len(e.IP.String()) + len(e.categories()) + len(time.RFC3339) + rowRest
		}
		limit = min(limit, room/n) // which is 50 at least, with maxRows and maxCategories
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
		write(e.IP.String(), e.categories(), stamp(e.Time), cell(e.Comment, limit))
	}
	w.Flush()
	return b.Bytes()
}

var plain = strings.NewReplacer("\n", " | ", `"`, "'")

// cell makes a cell of a comment.
func cell(s string, limit int) string {
	s = safetext.Line(plain.Replace(s), limit)
	if strings.IndexAny(s, "=+-@") == 0 {
		s = "'" + s[1:]
	}
	return s
}

// judgeBulk reads the answer to a file of entries.
func judgeBulk(a *httpclient.Answer, sent int, now time.Time) (report.Receipt, error) {
	s, dup, err := read(a, now)
	if err != nil {
		return report.Receipt{}, err
	}
	if dup { // a short-term limit of the endpoint itself; its rows were not looked at
		return report.Receipt{}, &report.Retry{After: 15 * time.Minute, Err: errors.New(who + " accepts no file for 15 minutes")}
	}
	if s.Data.Saved == nil {
		return report.Receipt{}, &report.Retry{Err: errors.New(who + " does not say how many reports it accepted")}
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
		text += fmt.Sprintf(", %d already known", known)
	}
	if refused > 0 {
		text += fmt.Sprintf(", %d refused%s", refused, bad)
	}
	text = safetext.Line(text, httpclient.MaxText)
	if *s.Data.Saved <= 0 && refused > 0 && known == 0 {
		return report.Receipt{}, &report.Refused{Err: errors.New(who + ": " + text)}
	}
	return report.Receipt{Answer: text, Duplicate: *s.Data.Saved <= 0 && known > 0}, nil
}
