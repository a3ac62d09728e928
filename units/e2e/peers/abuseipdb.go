package peers

import (
	"encoding/csv"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of AbuseIPDB (https://docs.abuseipdb.com, https://www.abuseipdb.com/reporting-policy).
const (
	maxComment  = 1024
	maxRows     = 10_000
	maxCSV      = 2 << 20
	maxAge      = 60 * 24 * time.Hour
	window      = 15 * time.Minute
	maxCategory = 23
)

type apiError struct {
	Detail string            `json:"detail"`
	Status int               `json:"status"`
	Source map[string]string `json:"source,omitempty"`
}

func refuse(status int, detail, parameter string) reply {
	e := apiError{Detail: detail, Status: status}
	if parameter != "" {
		e.Source = map[string]string{"parameter": parameter}
	}
	return asJSON(status, map[string]any{"errors": []apiError{e}})
}

// entrance makes the checks that both endpoints share. A nil reply means that they passed.
func (p *Peers) entrance(r *http.Request, mode string, e *Entry) *reply {
	e.fault(r.Header.Get("Accept") != "application/json", "Accept %s", r.Header.Get("Accept"))
	var a reply
	switch {
	case r.Header.Get("Key") != p.Key || mode == WrongKey:
		a = refuse(http.StatusUnauthorized, "Authentication failed. Your API key is either missing, incorrect, or revoked. Note: The APIv2 key differs from the APIv1 key.", "")
	case mode == Payment:
		a = refuse(http.StatusPaymentRequired, "You must be a subscriber to use this feature.", "")
	case mode == Quota:
		a = refuse(http.StatusTooManyRequests, "Daily rate limit of 1000 requests exceeded for this endpoint. See headers for additional details.", "")
		a.header["Retry-After"], a.header["X-RateLimit-Limit"], a.header["X-RateLimit-Remaining"] = "3600", "1000", "0"
		a.header["X-RateLimit-Reset"] = strconv.FormatInt(p.now().Add(time.Hour).Unix(), 10)
	default:
		return nil
	}
	return &a
}

// report checks one report, in whatever form it came.
func (p *Peers) report(e *Entry, ip, categories, stamp, comment string) (netip.Addr, string) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" || addr.String() != ip {
		return addr, "Invalid IP"
	}
	var last int
	for _, c := range strings.Split(categories, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 || n > maxCategory || n == 22 && categories == "22" {
			return addr, "Invalid Category"
		}
		e.fault(n <= last, "categories %s are not in order", categories)
		last = n
	}
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil || at.After(p.now().Add(time.Minute)) || p.now().Sub(at) > maxAge {
		return addr, "Invalid Date"
	}
	e.fault(utf8.RuneCountInString(comment) > maxComment, "a comment of %d characters", utf8.RuneCountInString(comment))
	for _, line := range strings.Split(comment, "\n") {
		e.fault(line == "" || controls(line), "a comment that is no text: %q", comment)
	}
	return addr, ""
}

func (p *Peers) abuseipdb(r *http.Request, mode string, e *Entry) reply {
	f := form(r, e, "ip", "categories", "comment", "timestamp")
	if a := p.entrance(r, mode, e); a != nil {
		return *a
	}
	if mode == Refuse {
		return refuse(http.StatusUnprocessableEntity, "The ip must be a valid IPv4 or IPv6 address (e.g. 8.8.8.8 or 2001:4860:4860::8888).", "ip")
	}
	addr, bad := p.report(e, f.Get("ip"), f.Get("categories"), f.Get("timestamp"), f.Get("comment"))
	if bad != "" {
		return refuse(http.StatusUnprocessableEntity, bad, "")
	}
	if len(e.Faults) > 0 {
		return refuse(http.StatusUnprocessableEntity, strings.Join(e.Faults, "; "), "")
	}
	if mode == Duplicate || addr == netip.AddrFrom4([4]byte{127, 0, 0, 2}) || !e.broken() && !p.first(addr) {
		return refuse(http.StatusTooManyRequests, fmt.Sprintf("You can only report the same IP address (`%s`) once in 15 minutes.", addr), "ip")
	}
	e.Taken = []string{addr.String()}
	return asJSON(http.StatusOK, map[string]any{"data": map[string]any{"ipAddress": addr, "abuseConfidenceScore": 52}})
}

// first reports whether an address was not reported within the window, and records that it is now.
func (p *Peers) first(addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[netip.Addr]time.Time{}
	}
	now := p.now()
	if at, ok := p.seen[addr]; ok && now.Sub(at) < window {
		return false
	}
	p.seen[addr] = now
	return true
}

type invalidReport struct {
	Error     string `json:"error"`
	Input     string `json:"input"`
	RowNumber int    `json:"rowNumber"`
}

func (p *Peers) bulk(r *http.Request, mode string, e *Entry) reply {
	rows := p.rows(r, e)
	if a := p.entrance(r, mode, e); a != nil {
		return *a
	}
	if mode == Refuse {
		return refuse(http.StatusUnprocessableEntity, "The csv must be a file of type: csv, txt.", "csv")
	}
	if mode == Duplicate {
		return refuse(http.StatusTooManyRequests, "You can only report the same IP address (`127.0.0.2`) once in 15 minutes.", "ip")
	}
	invalid := []invalidReport{}
	for i, row := range rows {
		if len(row) != 4 || i == 0 {
			continue
		}
		addr, bad := p.report(e, row[0], row[1], row[2], row[3])
		if bad == "" && !e.broken() && !p.first(addr) {
			bad = "Duplicate IP"
		}
		if bad != "" {
			invalid = append(invalid, invalidReport{bad, row[0], i + 1})
		} else {
			e.Taken = append(e.Taken, addr.String())
		}
	}
	return asJSON(http.StatusOK, map[string]any{"data": map[string]any{"savedReports": len(e.Taken), "invalidReports": invalid}})
}

// rows reads the CSV of a bulk report.
func (p *Peers) rows(r *http.Request, e *Entry) [][]string {
	mr, err := r.MultipartReader()
	var part *multipart.Part
	if err == nil {
		part, err = mr.NextPart()
	}
	if err != nil {
		e.fault(true, "no part: %v", err)
		return nil
	}
	e.fault(part.FormName() != "csv" || part.FileName() == "" || part.Header.Get("Content-Type") != "text/csv", "part %v", part.Header)
	data, err := io.ReadAll(part)
	e.fault(err != nil || len(data) > maxCSV, "a file of %d bytes, %v", len(data), err)
	_, err = mr.NextPart()
	e.fault(err != io.EOF, "more than one part")
	c := csv.NewReader(strings.NewReader(string(data)))
	c.FieldsPerRecord = 4
	rows, err := c.ReadAll()
	e.fault(err != nil, "CSV: %v", err)
	e.Rows = rows
	e.fault(len(rows) == 0 || !slices.Equal(rows[0], []string{"IP", "Categories", "ReportDate", "Comment"}) || len(rows) > maxRows+1, "%d rows, or another header", len(rows))
	for i, row := range rows {
		for _, cell := range row {
			e.fault(strings.IndexAny(cell, "=+-@\t\r") == 0, "row %d: %q is a formula to a spreadsheet", i+1, cell)
		}
	}
	return rows
}
