package httpclient

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
)

const (
	// MaxBody is how many bytes of an answer are read. The longest one is AbuseIPDB's about 10,000 refused rows of a file.
	MaxBody = 2 << 20

	// MaxText is how many bytes of a text in an answer are shown.
	MaxText = 300

	maxAfter = 24 * time.Hour // quotas are daily; a longer pause is a mistake or malicious
)

// Answer is the answer of a service. Its content is not trusted: it is bounded and made safe before it is shown.
type Answer struct {
	Status int // of HTTP
	Header textproto.MIMEHeader
	Body   []byte // at most MaxBody
}

// OK reports whether the status is 2xx.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// Text is the body as one line; "" for a web page.
func (a *Answer) Text() string {
	s := safetext.Line(string(a.Body), MaxText)
	if strings.HasPrefix(s, "<") {
		return ""
	}
	return s
}

// After is the pause that the service asks for, at most a day: Retry-After in seconds or as a date (RFC 9110, 10.2.3), or
// X-RateLimit-Reset in seconds since 1970. 0: it asks for none.
func (a *Answer) After(now time.Time) time.Duration {
	if s := strings.TrimSpace(a.Header.Get("Retry-After")); s != "" {
		if n, err := strconv.ParseUint(s, 10, 32); err == nil {
			return min(time.Duration(n)*time.Second, maxAfter)
		}
		if t, err := http.ParseTime(s); err == nil {
			return until(t, now)
		}
	}
	if n, err := strconv.ParseInt(strings.TrimSpace(a.Header.Get("X-RateLimit-Reset")), 10, 48); err == nil {
		return until(time.Unix(n, 0), now)
	}
	return 0
}

func until(t, now time.Time) time.Duration { return max(0, min(t.Sub(now), maxAfter)) }

// Err returns the error of a status, with the text of the service: nil for success, *report.Retry if time may help, else
// *report.Refused, with All if it concerns the destination and not the item.
func (a *Answer) Err(who, says string, now time.Time) error {
	text := fmt.Sprintf("%s answered %d", who, a.Status)
	if name, ok := names[a.Status]; ok {
		text += " (" + name + ")"
	}
	if says != "" {
		text += ": " + says
	}
	err := fmt.Errorf("%s", text)
	switch s := a.Status; {
	case a.OK():
		return nil
	case s == 301, s == 308, s == 401, s == 403, s == 404, s == 405, s == 407, s == 410:
		return &report.Refused{All: true, Err: err}
	case s == 429:
		return &report.Retry{After: a.After(now), Quota: true, Err: err}
	case s == 408, s == 425, s < 400, s >= 500:
		return &report.Retry{After: a.After(now), Err: err}
	}
	return &report.Refused{Err: err}
}

// Receipt is the end of a delivery with this answer, of which err is the error (see Err): its status and text.
func (a *Answer) Receipt(err error) (report.Receipt, error) {
	if err != nil {
		return report.Receipt{}, err
	}
	return report.Receipt{Answer: strings.TrimSuffix(fmt.Sprintf("%d, %s", a.Status, a.Text()), ", ")}, nil
}

// names are the names of common statuses.
var names = map[int]string{
	301: "moved permanently", 302: "found", 307: "temporary redirect", 308: "permanent redirect", 400: "bad request", 401: "unauthorized",
	402: "payment required", 403: "forbidden", 404: "not found", 405: "method not allowed", 408: "request timeout", 410: "gone",
	413: "content too large", 415: "unsupported media type", 422: "unprocessable content", 429: "too many requests",
	500: "internal server error", 502: "bad gateway", 503: "service unavailable", 504: "gateway timeout",
}
