package notice

import (
	"cmp"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// form makes a service's request of a message: method, URL and headers, and the JSON.
type form func(d *config.Destination, secret string, m *message) (*httpclient.Request, any)

// object is a JSON object.
type object = map[string]any

var forms = map[string]form{
	"ntfy":         ntfy,
	"gotify":       gotify,
	"telegram":     telegram,
	"matrix":       matrix,
	"slack":        slack,
	"mattermost":   mattermost,
	"discord":      discord,
	"teams":        teams,
	"alertmanager": alertmanager,
}

// bearer is the header of a token, if there is one.
func bearer(secret string) map[string]string {
	if secret == "" {
		return nil
	}
	return map[string]string{"Authorization": "Bearer " + secret}
}

// cut shortens a text to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// ntfy publishes as JSON, to the server's root, since headers would have to be ASCII: https://docs.ntfy.sh/publish/#publish-as-json.
// A message of more than 4,096 bytes would become an attachment.
func ntfy(d *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	u, topic := d.URL, ""
	if at := strings.LastIndexByte(strings.TrimSuffix(u, "/"), '/'); at > len("https://") {
		u, topic = u[:at+1], strings.TrimSuffix(u[at+1:], "/")
	}
	return &httpclient.Request{URL: u, Header: bearer(secret)}, object{
		"topic": topic, "title": m.title, "message": cutBytes(m.text(), 4000),
		"priority": [...]int{3, 4, 5}[m.severity], "tags": []string{[...]string{"shield", "warning", "rotating_light"}[m.severity]},
	}
}

// cutBytes shortens a text to n bytes.
func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}

// gotify: https://gotify.net/docs/pushmsg; priorities from 8 on ring (https://gotify.net/docs/msgextras for the content type).
func gotify(d *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	return &httpclient.Request{URL: strings.TrimSuffix(d.URL, "/") + "/message", Header: map[string]string{"X-Gotify-Key": secret}}, object{
		"title": m.title, "message": m.text(), "priority": [...]int{4, 6, 9}[m.severity],
		"extras": object{"client::display": object{"contentType": "text/plain"}},
	}
}

// telegram: https://core.telegram.org/bots/api#sendmessage. Without parse_mode the text is plain; it has 4,096 characters at most. The
// token is part of the path.
func telegram(d *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	u := strings.TrimSuffix(cmp.Or(d.URL, "https://api.telegram.org"), "/")
	return &httpclient.Request{URL: u + "/bot" + secret + "/sendMessage"}, object{
		"chat_id": d.Channel, "text": cut(m.title+"\n"+m.text(), 4096), "disable_notification": m.severity == info,
		"link_preview_options": object{"is_disabled": true},
	}
}

// matrix: https://spec.matrix.org/latest/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid. The transaction id makes
// a repeated message the same one. m.notice is for programs. Without format the body is plain.
func matrix(d *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	path := "/_matrix/client/v3/rooms/" + url.PathEscape(d.Channel) + "/send/m.room.message/" + url.PathEscape(m.key)
	return &httpclient.Request{Method: "PUT", URL: strings.TrimSuffix(d.URL, "/") + path, Header: bearer(secret)}, object{
		"msgtype": "m.notice", "body": cut(m.title+"\n"+m.text(), 16000),
	}
}

// slack: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. text is what a notification shows, with three
// characters escaped; blocks are plain (a header has 150 characters at most, a section 3,000).
func slack(_ *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	plain := func(s string, n int) object { return object{"type": "plain_text", "text": cut(s, n), "emoji": false} }
	blocks := []object{{"type": "header", "text": plain(m.title, 150)}}
	if len(m.lines) > 0 {
		blocks = append(blocks, object{"type": "section", "text": plain(m.text(), 3000)})
	}
	return &httpclient.Request{URL: secret}, object{"text": slackText.Replace(m.title), "blocks": blocks}
}

var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// mattermost: https://developers.mattermost.com/integrate/webhooks/incoming. The text is Markdown, and @all is a mention.
func mattermost(_ *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	text := "**" + markdown(m.title) + "**"
	for _, l := range m.lines {
		text += "\n" + markdown(l)
	}
	return &httpclient.Request{URL: secret}, object{"text": cut(text, 16000)}
}

// markdown escapes a line of text for Markdown, and parts a mention from its @ by a character that is not shown.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '@':
			b.WriteString("@\u200b")
			continue
		case strings.ContainsRune("\\`*_{}[]()<>#+-!|~:", r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// discord: https://discord.com/developers/docs/resources/webhook#execute-webhook. content has 2,000 characters at most; nobody is
// mentioned, and links show no preview (flags 4).
func discord(_ *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	text := "**" + markdown(cut(m.title, 400)) + "**"
	for _, l := range m.lines {
		if l = "\n" + markdown(l); utf8.RuneCountInString(text)+utf8.RuneCountInString(l) > 2000 {
			break
		}
		text += l
	}
	return &httpclient.Request{URL: secret}, object{"content": text, "allowed_mentions": object{"parse": []string{}}, "flags": 4}
}

// teams: a card for a workflow that posts what a webhook receives
// (https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using). RichTextBlock, of version
// 1.2, is plain, where TextBlock would be Markdown. All of it has 28 KB at most.
func teams(_ *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	block := func(s, weight, color string) object {
		return object{"type": "RichTextBlock", "inlines": []object{{"type": "TextRun", "text": s, "weight": weight, "color": color}}}
	}
	body := []object{block(m.title, "bolder", [...]string{"default", "warning", "attention"}[m.severity])}
	for _, l := range m.lines {
		body = append(body, block(l, "default", "default"))
	}
	return &httpclient.Request{URL: secret}, object{"type": "message", "attachments": []object{{
		"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil,
		"content": object{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.2", "body": body},
	}}}
}

// How long an alert lasts in Alertmanager that no other one ends.
const (
	banAlert     = 5 * time.Minute
	problemAlert = 24 * time.Hour
)

// alertmanager: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml, POST /alerts. Each problem is an alert of its
// own, which its recovery ends; bans are one alert together, for a few minutes.
func alertmanager(d *config.Destination, secret string, m *message) (*httpclient.Request, any) {
	alert := func(name, problem, severity, summary, text string, from, to time.Time) object {
		labels := object{"alertname": name, "instance": m.host, "severity": severity}
		if problem != "" {
			labels["problem"] = problem
		}
		return object{"labels": labels, "annotations": object{"summary": summary, "description": text},
			"startsAt": from.UTC().Format(time.RFC3339Nano), "endsAt": to.UTC().Format(time.RFC3339Nano)}
	}
	alerts := []object{}
	var rest []*report.Report
	for _, r := range m.item.Reports {
		one := *m.item
		one.Reports, one.Counts = []*report.Report{r}, nil
		words := compose(&one, m.host)
		name := [...]string{"info", "warning", "critical"}[severityOf(r)] // the same when it is over, or it would be another alert
		switch r.Event {
		case report.Problem:
			alerts = append(alerts, alert("BailiffProblem", r.Problem, name, words.title, words.text(), r.Time, r.Time.Add(problemAlert)))
		case report.Recovery:
			alerts = append(alerts, alert("BailiffProblem", r.Problem, name, words.title, words.text(), r.Time.Add(-time.Second), r.Time))
		default:
			rest = append(rest, r)
		}
	}
	if len(rest) > 0 {
		changes := *m.item
		changes.Reports = rest
		words := compose(&changes, m.host)
		alerts = append(alerts, alert("BailiffBans", "", "info", words.title, words.text(), words.time, words.time.Add(banAlert)))
	}
	return &httpclient.Request{URL: strings.TrimSuffix(d.URL, "/") + "/api/v2/alerts", Header: bearer(secret)}, alerts
}
