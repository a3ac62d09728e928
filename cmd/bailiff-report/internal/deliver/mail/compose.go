package mail

import (
	"cmp"
	_ "embed"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"bailiff/cmd/bailiff-report/internal/message"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

//go:embed bailiff.tmpl
var bailiffLayout []byte

//go:embed fail2ban.tmpl
var fail2banLayout []byte

var layouts = map[string]func() *Template{
	"bailiff":  sync.OnceValue(func() *Template { return mustParse("bailiff.tmpl", bailiffLayout) }),
	"fail2ban": sync.OnceValue(func() *Template { return mustParse("fail2ban.tmpl", fail2banLayout) }),
}

func mustParse(name string, data []byte) *Template {
	t, err := ParseTemplate(name, data)
	if err != nil {
		panic(err) // the tests parse it
	}
	return t
}

// Envelope is what a mail needs besides the item and its destination.
type Envelope struct {
	Host     string    // this host, for Message-IDs and reports without a host
	Sender   string    // "": bailiff@ and Host
	Agent    string    // bailiff/VERSION
	Time     time.Time // of the mail; log lines are shown in its zone
	Template *Template // nil: the one of the destination's layout
}

// Compose makes the mail of an item. Errors are about the template.
func Compose(item *report.Item, d *config.Destination, e *Envelope) ([]byte, error) {
	layout, name := layouts[d.Layout], "bailiff on "+e.Host
	if layout == nil {
		layout = layouts["bailiff"]
	}
	if d.Layout == "fail2ban" {
		name = "Fail2Ban"
	}
	t := e.Template
	if t == nil {
		t = layout()
	}
	v, coded := newView(item, d, e)
	subject, body, err := t.execute(v)
	if err != nil {
		return nil, located(cmp.Or(d.Template, d.Layout), err)
	}
	if subject == "" {
		if subject, _, err = layout().execute(v); err != nil {
			return nil, located(d.Layout, err)
		}
	}
	m := &message.Message{
		ID: message.ID(item.Key, e.Host), Name: name, From: message.Address(e.Sender, e.Host), To: d.To, Host: e.Host,
		Subject: subject, Date: e.Time, Agent: e.Agent, Parts: []message.Part{{Type: "text/plain", Body: []byte(body)}},
	}
	if len(v.Bans) == 1 {
		b := &v.Bans[0]
		m.Header = [][2]string{{"X-Bailiff-Ban-ID", b.ID}, {"X-Bailiff-Jail", b.Jail}, {"X-Bailiff-Address", b.Prefix}}
	} else {
		m.Header = [][2]string{{"X-Bailiff-Bans", fmt.Sprint(v.Total)}}
	}
	if item.Test {
		m.Header = append(m.Header, [2]string{"X-Bailiff-Test", "yes"})
	}
	if len(coded) > 0 {
		m.Parts = append(m.Parts, message.Part{Type: "application/vnd.fdo.journal", Name: "lines.export", Body: export(coded)})
	}
	return m.Bytes(), nil
}

// export writes lines in the journal's export format, which can hold any bytes.
func export(lines []report.Line) []byte {
	var b []byte
	field := func(name, value string) {
		if value == "" {
			return
		}
		b = append(b, name...)
		if _, same := safetext.Escape([]byte(value), len(value)); same {
			b = append(append(append(b, '='), value...), '\n')
			return
		}
		b = binary.LittleEndian.AppendUint64(append(b, '\n'), uint64(len(value)))
		b = append(append(b, value...), '\n')
	}
	for i := range lines {
		l := &lines[i]
		field("__CURSOR", strings.Join(strings.Fields(l.Cursor), ""))
		field("__REALTIME_TIMESTAMP", fmt.Sprint(l.Time.UnixMicro()))
		field("_HOSTNAME", l.Hostname)
		field("_SYSTEMD_UNIT", l.Unit)
		field("SYSLOG_IDENTIFIER", l.Identifier)
		if l.PID != 0 {
			field("_PID", fmt.Sprint(l.PID))
		}
		field("MESSAGE", string(l.Message))
		b = append(b, '\n')
	}
	return b
}
