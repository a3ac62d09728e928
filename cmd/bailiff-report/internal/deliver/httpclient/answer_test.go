package httpclient

import (
	"errors"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func header(kv ...string) textproto.MIMEHeader {
	h := textproto.MIMEHeader{}
	for i := 0; i < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return h
}

func TestAfter(t *testing.T) {
	for _, c := range []struct {
		header textproto.MIMEHeader
		want   time.Duration
	}{
		{header(), 0},
		{header("Retry-After", "120"), 2 * time.Minute},
		{header("Retry-After", " 7 "), 7 * time.Second},
		{header("Retry-After", "0"), 0},
		{header("Retry-After", "-5"), 0},
		{header("Retry-After", "4294967295"), 24 * time.Hour},
		{header("Retry-After", "99999999999999999999"), 0},
		{header("Retry-After", "soon"), 0},
		{header("Retry-After", "Mon, 23 Nov 2026 12:10:00 GMT"), 10 * time.Minute},
		{header("Retry-After", "Monday, 23-Nov-26 12:10:00 GMT"), 10 * time.Minute},
		{header("Retry-After", "Mon Nov 23 12:10:00 2026"), 10 * time.Minute},
		{header("Retry-After", "Mon, 23 Nov 2026 11:00:00 GMT"), 0},
		{header("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), 24 * time.Hour},
		{header("X-RateLimit-Reset", "1795435260"), time.Minute},
		{header("X-RateLimit-Reset", "9795435260"), 24 * time.Hour},
		{header("X-RateLimit-Reset", "x"), 0},
		{header("Retry-After", "60", "X-RateLimit-Reset", "1795435500"), time.Minute},
		{header("Retry-After", "soon", "X-RateLimit-Reset", "1795435260"), time.Minute},
	} {
		if got := (&Answer{Header: c.header}).After(now); got != c.want {
			t.Errorf("%v: %v, want %v", c.header, got, c.want)
		}
	}
}

func TestErr(t *testing.T) {
	for status, want := range map[int]string{
		200: "", 201: "", 204: "", 299: "",
		301: "all", 302: "retry", 304: "retry", 308: "all",
		400: "refused", 401: "all", 403: "all", 404: "all", 405: "all", 407: "all", 409: "refused", 410: "all", 413: "refused", 422: "refused",
		408: "retry", 425: "retry", 429: "quota",
		500: "retry", 501: "retry", 502: "retry", 503: "retry", 599: "retry", 100: "retry",
	} {
		err := (&Answer{Status: status, Header: header("Retry-After", "9")}).Err("example.org", "no", now)
		var retry *report.Retry
		var refused *report.Refused
		got := ""
		switch {
		case errors.As(err, &retry) && retry.Quota:
			got = "quota"
		case errors.As(err, &retry):
			got = "retry"
		case errors.As(err, &refused) && refused.All:
			got = "all"
		case errors.As(err, &refused):
			got = "refused"
		}
		if got != want || retry != nil && retry.After != 9*time.Second {
			t.Errorf("%d: %s (%v), want %s", status, got, err, want)
		}
	}
	if err := (&Answer{Status: 503}).Err("example.org", "back soon", now); err.Error() != "example.org answered 503 (service unavailable): back soon" {
		t.Error(err)
	}
}

func TestText(t *testing.T) {
	for body, want := range map[string]string{
		"":                                      "",
		"  ok\r\n":                              "ok",
		"a\nb\x00\x1b[31mc":                     "a b [31mc",
		"\xff\xfe":                              "?",
		"a\u202eb\u200bc\u2028d":                "a b c d",
		"<html><body>down</body>":               "",
		"\n <!DOCTYPE html>":                    "",
		"Grüße":                                 "Grüße",
		strings.Repeat("x", 300):                strings.Repeat("x", 300),
		strings.Repeat("x", 1<<20):              strings.Repeat("x", 297) + "…",
		strings.Repeat("ü", 200):                strings.Repeat("ü", 148) + "…",
		strings.Repeat("x", 299) + "ü":          strings.Repeat("x", 297) + "…",
		strings.Repeat(" ", 1199) + "ü" + "end": "?",
	} {
		if got := (&Answer{Body: []byte(body)}).Text(); got != want {
			t.Errorf("%.40q: %q, want %q", body, got, want)
		}
	}
}
