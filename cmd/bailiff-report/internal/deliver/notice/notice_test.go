package notice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/delivertest"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

const token = "tk_hunter2hunter2"

// service is a server of one kind, which checks a request as its documentation says.
type service struct {
	configure func(d *config.Destination, url string) // and what the credential holds, in secret
	secret    func(url string) string
	method    string
	path      string
	header    map[string]string
	body      func() any // what the documentation lists, to be decoded strictly
	check     func(t *testing.T, body any)
	answer    string
	status    int
}

// plainText is a Slack text object.
type plainText struct {
	Type, Text string
	Emoji      bool
}

var services = map[string]service{
	"ntfy": {
		configure: func(d *config.Destination, url string) { d.URL, d.Credential = url+"/mytopic", "bailiff_phone" },
		method:    "POST", path: "/", header: map[string]string{"Authorization": "Bearer " + token},
		body: func() any {
			return &struct {
				Topic, Message, Title, Click, Attach, Filename, Icon, Delay, Email, Call string
				Priority                                                                 int
				Tags                                                                     []string
				Markdown                                                                 bool
			}{}
		},
		check: func(t *testing.T, body any) {
			m := asMap(body)
			if m["Topic"] != "mytopic" || len(m["Message"].(string)) > 4096 || m["Priority"].(float64) < 1 || m["Priority"].(float64) > 5 || m["Markdown"] == true {
				t.Errorf("%v", m)
			}
		},
		status: 200, answer: `{"id":"sPs71M8A2T","time":1643935928,"expires":1643936928,"event":"message","topic":"mytopic","message":"x"}`,
	},
	"gotify": {
		configure: func(d *config.Destination, url string) { d.URL = url + "/sub/" },
		method:    "POST", path: "/sub/message", header: map[string]string{"X-Gotify-Key": token},
		body: func() any {
			return &struct {
				Title, Message string
				Priority       int
				Extras         map[string]map[string]string
			}{}
		},
		check: func(t *testing.T, body any) {
			m := asMap(body)
			if m["Message"] == "" || m["Priority"].(float64) > 10 || fmt.Sprint(m["Extras"]) != "map[client::display:map[contentType:text/plain]]" {
				t.Errorf("%v", m)
			}
		},
		status: 200, answer: `{"id":25,"appid":5,"message":"x","title":"y","priority":4,"date":"2026-11-29T00:00:00Z"}`,
	},
	"telegram": {
		configure: func(d *config.Destination, url string) { d.URL, d.Channel = url, "-1001234567890" },
		method:    "POST", path: "/bot" + token + "/sendMessage",
		body: func() any {
			return &struct {
				ChatID              string `json:"chat_id"`
				Text                string `json:"text"`
				DisableNotification bool   `json:"disable_notification"`
				LinkPreviewOptions  struct {
					IsDisabled bool `json:"is_disabled"`
				} `json:"link_preview_options"`
			}{}
		},
		check: func(t *testing.T, body any) {
			m := asMap(body)
			if n := utf8.RuneCountInString(m["text"].(string)); n < 1 || n > 4096 || m["chat_id"] != "-1001234567890" {
				t.Errorf("%v", m)
			}
		},
		status: 200, answer: `{"ok":true,"result":{"message_id":7}}`,
	},
	"matrix": {
		configure: func(d *config.Destination, url string) { d.URL, d.Channel = url+"/", "!abc/d:example.org" },
		method:    "PUT", path: "/_matrix/client/v3/rooms/%21abc%2Fd:example.org/send/m.room.message/00112233445566778899aabbccddeeff.abuse-1",
		header: map[string]string{"Authorization": "Bearer " + token},
		body:   func() any { return &struct{ Msgtype, Body string }{} },
		check: func(t *testing.T, body any) {
			if m := asMap(body); m["Msgtype"] != "m.notice" || m["Body"] == "" {
				t.Errorf("%v", m)
			}
		},
		status: 200, answer: `{"event_id":"$x"}`,
	},
	"slack": {
		secret: func(url string) string { return url + "/services/T000/B000/" + token },
		method: "POST", path: "/services/T000/B000/" + token,
		body: func() any {
			return &struct {
				Text   string
				Blocks []struct {
					Type string
					Text plainText
				}
			}{}
		},
		check: func(t *testing.T, body any) {
			m := asMap(body)
			if regexp.MustCompile(`<|>|&(?:[^agl]|$)`).MatchString(m["Text"].(string)) {
				t.Errorf("text that is not escaped: %q", m["Text"])
			}
			for i, b := range m["Blocks"].([]any) {
				b := b.(map[string]any)
				text := b["Text"].(map[string]any)
				limit := 3000
				if b["Type"] == "header" {
					limit = 150
				}
				if n := utf8.RuneCountInString(text["Text"].(string)); text["Type"] != "plain_text" || n < 1 || n > limit || i > 49 {
					t.Errorf("block %v", b)
				}
			}
		},
		status: 200, answer: "ok",
	},
	"mattermost": {
		secret: func(url string) string { return url + "/hooks/" + token },
		method: "POST", path: "/hooks/" + token,
		body: func() any { return &struct{ Text string }{} },
		check: func(t *testing.T, body any) {
			if m := asMap(body); regexp.MustCompile(`@[A-Za-z]`).MatchString(m["Text"].(string)) || utf8.RuneCountInString(m["Text"].(string)) > 16383 {
				t.Errorf("%v", m)
			}
		},
		status: 200, answer: "ok",
	},
	"discord": {
		secret: func(url string) string { return url + "/api/webhooks/1/" + token },
		method: "POST", path: "/api/webhooks/1/" + token,
		body: func() any {
			return &struct {
				Content         string
				AllowedMentions *struct{ Parse []string } `json:"allowed_mentions"`
				Flags           int
			}{}
		},
		check: func(t *testing.T, body any) {
			m := asMap(body)
			if n := utf8.RuneCountInString(m["Content"].(string)); n < 1 || n > 2000 || fmt.Sprint(m["allowed_mentions"]) != "map[Parse:[]]" || m["Flags"] != 4.0 {
				t.Errorf("%v", m)
			}
		},
		status: 204,
	},
	"teams": {
		secret: func(url string) string {
			return url + "/workflows/x/triggers/manual/paths/invoke?api-version=1&sig=" + token
		},
		method: "POST", path: "/workflows/x/triggers/manual/paths/invoke?api-version=1&sig=" + token,
		body: func() any {
			return &struct {
				Type        string
				Attachments []struct {
					ContentType string
					ContentURL  *string `json:"contentUrl"`
					Content     struct {
						Schema        string `json:"$schema"`
						Type, Version string
						Body          []struct {
							Type    string
							Inlines []struct{ Type, Text, Weight, Color string }
						}
					}
				}
			}{}
		},
		check: func(t *testing.T, body any) {
			m := asMap(body)
			a := m["Attachments"].([]any)
			card := a[0].(map[string]any)
			content := card["Content"].(map[string]any)
			if m["Type"] != "message" || len(a) != 1 || card["ContentType"] != "application/vnd.microsoft.card.adaptive" || content["Type"] != "AdaptiveCard" || content["Version"] != "1.2" {
				t.Errorf("%v", m)
			}
			for _, b := range content["Body"].([]any) {
				b := b.(map[string]any)
				run := b["Inlines"].([]any)[0].(map[string]any)
				if b["Type"] != "RichTextBlock" || run["Type"] != "TextRun" || run["Text"] == "" {
					t.Errorf("block %v", b)
				}
			}
		},
		status: 202,
	},
	"alertmanager": {
		configure: func(d *config.Destination, url string) { d.URL = url },
		method:    "POST", path: "/api/v2/alerts",
		body: func() any {
			return &[]struct {
				Labels, Annotations map[string]string
				StartsAt, EndsAt    time.Time
				GeneratorURL        string
			}{}
		},
		check: func(t *testing.T, body any) {
			var l []struct {
				Labels           map[string]string
				StartsAt, EndsAt time.Time
			}
			b, _ := json.Marshal(body)
			if json.Unmarshal(b, &l) != nil || len(l) == 0 {
				t.Fatalf("%s", b)
			}
			for _, a := range l {
				for name := range a.Labels {
					if !regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`).MatchString(name) {
						t.Errorf("label %q", name)
					}
				}
				if a.Labels["alertname"] == "" || !a.EndsAt.After(a.StartsAt) { // "start time must be before end time"
					t.Errorf("%+v", a)
				}
			}
		},
		status: 200,
	},
}

func asMap(v any) (m map[string]any) {
	b, _ := json.Marshal(v)
	_ = json.Unmarshal(b, &m)
	return m
}

// received is what a service was sent.
type received struct {
	request string
	body    []byte
}

// serve plays a service, and returns a destination that is configured for it.
func serve(t *testing.T, form string, fail http.HandlerFunc) (deliver.Destination, *[]received) {
	t.Helper()
	s := services[form]
	var got []received
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		got = append(got, received{r.Method + " " + r.URL.RequestURI(), b})
		kind, params, e := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || e != nil || kind != "application/json" || params["charset"] != "" && params["charset"] != "utf-8" || !utf8.Valid(b) {
			t.Errorf("%s: content type %q, %v, %v", form, r.Header.Get("Content-Type"), err, e)
		}
		if r.Method != s.method || r.URL.RequestURI() != s.path {
			t.Errorf("%s: %s %s, want %s %s", form, r.Method, r.URL.RequestURI(), s.method, s.path)
		}
		for k, v := range s.header {
			if r.Header.Get(k) != v {
				t.Errorf("%s: %s: %q", form, k, r.Header.Get(k))
			}
		}
		if s.header["Authorization"] == "" && r.Header.Get("Authorization") != "" {
			t.Errorf("%s: Authorization: %q", form, r.Header.Get("Authorization"))
		}
		into := s.body()
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil {
			t.Errorf("%s: %v in %s", form, err, b)
		} else {
			s.check(t, into)
		}
		if fail != nil {
			fail(w, r)
			return
		}
		w.WriteHeader(s.status)
		io.WriteString(w, s.answer)
	}))
	t.Cleanup(web.Close)
	d := &config.Destination{Name: "phone", Type: config.TypeWebhook, Form: form, TimeLimit: time.Minute}
	secret := token
	if s.configure != nil {
		s.configure(d, web.URL)
	} else {
		secret = s.secret(web.URL)
	}
	dst, err := New(d, delivertest.Env(t, "bailiff_phone", secret+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return dst, &got
}

// event is a problem or its end.
func event(kind, problem, text string) *report.Report {
	return &report.Report{ID: "0011", Time: time.Now(), Event: kind, Problem: problem, Text: text}
}

// nasty is a text of a program that somebody else may have a say in.
const nasty = "firewall: <!channel> @all *bold* [x](http://evil.example) \x1b[31m\u202eabc \xff `code` & 💥"

// items are one of each kind, and a flood.
func items() map[string]*report.Item {
	unban := delivertest.Report("198.51.100.8")
	unban.Event, unban.Text = report.Unban, "expired"
	hand := delivertest.Report("2001:db8::9")
	hand.By, hand.Reason, hand.Until, hand.Count = "root", "<b>annoying</b>", time.Time{}, 3
	var flood []*report.Report
	for i := range 20 {
		flood = append(flood, delivertest.Report(fmt.Sprintf("198.51.100.%d", i)))
	}
	many := delivertest.Item(flood...)
	many.Counts = []report.Count{{Jail: "sshd", N: 900}, {Jail: "postfix", N: 99}, {Event: report.Unban, Jail: "sshd", N: 1}}
	test := delivertest.Item(delivertest.Report("192.0.2.1"))
	test.Test = true
	return map[string]*report.Item{
		"ban": delivertest.Item(delivertest.Report("198.51.100.7")), "hand": delivertest.Item(hand), "unban": delivertest.Item(unban), "test": test,
		"problem": delivertest.Item(event(report.Problem, "firewall", nasty)), "recovery": delivertest.Item(event(report.Recovery, "firewall", "no longer: "+nasty)),
		"mixed": delivertest.Item(event(report.Problem, "journal", strings.Repeat("long text ", 500)), delivertest.Report("198.51.100.7"), unban), "flood": many,
	}
}

// TestForms: each service takes what it is sent of each kind of event, as its documentation has it.
func TestForms(t *testing.T) {
	for form := range forms {
		t.Run(form, func(t *testing.T) {
			d, got := serve(t, form, nil)
			for name, item := range items() {
				before := len(*got)
				if s := delivertest.Outcome(d.Deliver(t.Context(), item)); !strings.HasPrefix(s, fmt.Sprintf("ok: %d", services[form].status)) || strings.Contains(s, token) {
					t.Errorf("%s: %s", name, s)
				}
				if len(*got) != before+1 {
					t.Fatalf("%s: %d requests", name, len(*got)-before)
				}
				body := string((*got)[before].body)
				for _, bad := range []string{"\\u001b", "\u202e", "bob", "Failed password"} {
					if strings.Contains(body, bad) {
						t.Errorf("%s: %q in %s", name, bad, body)
					}
				}
				again, err := d.Render(item)
				if err != nil || strings.Contains(string(again), token) || strings.Contains(string(again), "masked.invalid") || !strings.Contains(string(again), body) {
					t.Errorf("%s: preview %v\n%s\nof\n%s", name, err, again, body)
				}
			}
		})
	}
	if len(services) != len(forms) || len(forms) != len(config.Forms)-1 {
		t.Errorf("%d services, %d forms, %d in the configuration", len(services), len(forms), len(config.Forms))
	}
}

// TestFailures: the answers of services that reject a notice, and where these say how long to wait.
func TestFailures(t *testing.T) {
	answer := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		form string
		fail http.HandlerFunc
		want string
	}{
		{"telegram", answer(429, `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}`), "quota 35s: "},
		{"telegram", answer(401, `{"ok":false,"error_code":401,"description":"Unauthorized"}`), "held: "},
		{"telegram", answer(400, `{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}`), "refused: "},
		{"matrix", answer(429, `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests","retry_after_ms":2000}`), "quota 2s: "},
		{"matrix", answer(403, `{"errcode":"M_FORBIDDEN","error":"not in the room"}`), "held: "},
		{"discord", answer(429, `{"message":"You are being rate limited.","retry_after":0.5,"global":false}`), "quota 500ms: "},
		{"discord", answer(429, `{}`, "Retry-After", "7"), "quota 7s: "},
		{"slack", answer(410, "channel_is_archived"), "held: "},
		{"slack", answer(429, "", "Retry-After", "30"), "quota 30s: "},
		{"ntfy", answer(507, `{"code":50701,"http":507,"error":"cannot publish to UnifiedPush topic"}`), "retry 0s: "},
		{"teams", answer(502, ""), "retry 0s: "},
		{"telegram", answer(429, `{"parameters":{"retry_after":-1e300}}`), "quota 0s: "},
		{"telegram", answer(429, `{"parameters":{"retry_after":1e300}}`), "quota 24h0m0s: "},
	} {
		d, _ := serve(t, c.form, c.fail)
		got := delivertest.Outcome(d.Deliver(t.Context(), items()["ban"]))
		if !strings.HasPrefix(got, c.want) || strings.Contains(got, token) {
			t.Errorf("%s: %s, want %s", c.form, got, c.want)
		}
	}
}

// TestSecrets: a URL that is the secret must be encrypted, and never stands in an error.
func TestSecrets(t *testing.T) {
	for secret, want := range map[string]string{
		"http://hooks.slack.com/" + token:       "held: credential bailiff_team: the URL is neither https nor of this host",
		"not a url " + token:                    "held: credential bailiff_team: is not a key",
		"https://127.0.0.1:1/services/" + token: "retry 0s: 127.0.0.1:1: ",
	} {
		d, err := New(&config.Destination{Name: "team", Type: config.TypeWebhook, Form: "slack", TimeLimit: time.Minute}, delivertest.Env(t, "bailiff_team", secret))
		if err != nil {
			t.Fatal(err)
		}
		if got := delivertest.Outcome(d.Deliver(t.Context(), items()["ban"])); !strings.HasPrefix(got, want) || strings.Contains(got, token) {
			t.Errorf("%s: %s", secret, got)
		}
	}
	if _, err := New(&config.Destination{Form: "ntfy", URL: "http://ntfy.example.org/x"}, deliver.Env{}); err == nil {
		t.Error("a notice may travel unencrypted")
	}
	// Without a token named, ntfy and Alertmanager are asked without one.
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a token")
		}
	}))
	defer web.Close()
	u, _ := url.Parse(web.URL)
	d, err := New(&config.Destination{Name: "x", Type: config.TypeWebhook, Form: "ntfy", URL: u.String() + "/topic", TimeLimit: time.Minute}, delivertest.Env(t, "other", "x"))
	if err != nil {
		t.Fatal(err)
	}
	if got := delivertest.Outcome(d.Deliver(t.Context(), items()["ban"])); !strings.HasPrefix(got, "ok: 200") {
		t.Error(got)
	}
}

// TestWords: what people read.
func TestWords(t *testing.T) {
	for name, want := range map[string]string{
		"ban":      "mail.example.org: banned 198.51.100.7 (sshd)\n5 attempts, for 1h",
		"hand":     "mail.example.org: banned 2001:db8::/64 (sshd)\nby root, <b>annoying</b>, forever, ban number 3",
		"unban":    "mail.example.org: unbanned 198.51.100.8 (sshd)\nexpired",
		"test":     "test: mail.example.org: banned 192.0.2.1 (sshd)\n5 attempts, for 1h",
		"problem":  "mail.example.org: problem: firewall\nfirewall: <!channel> @all *bold* [x](http://evil.example) [31m abc ? `code` & 💥",
		"recovery": "mail.example.org: solved: firewall\nno longer: firewall: <!channel> @all *bold* [x](http://evil.example) [31m abc ? `code` & 💥",
		"flood":    "mail.example.org: 999 bans (sshd 900, postfix 99), 1 unban (sshd 1)\nbanned 198.51.100.10 (sshd): 5 attempts, for 1h\nbanned 198.51.100.11 (sshd): 5 attempts, for 1h",
	} {
		m := compose(items()[name], "mail.example.org")
		if got := m.title + "\n" + m.text(); !strings.HasPrefix(got, want) || name != "flood" && got != want {
			t.Errorf("%s:\n%q\nwant\n%q", name, got, want)
		}
	}
	if m := compose(items()["flood"], "h"); len(m.lines) != maxNamed+1 || m.lines[maxNamed] != "and 990 more" {
		t.Errorf("%q", m.lines)
	}
	if m := compose(items()["mixed"], "h"); !strings.HasPrefix(m.title, "h: problem: journal, 1 ban (sshd 1), 1 unban (sshd 1)") || len(m.lines[0]) > maxLine || m.severity != warning {
		t.Errorf("%+v", m)
	}
}
