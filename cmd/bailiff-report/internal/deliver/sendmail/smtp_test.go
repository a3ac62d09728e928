package sendmail

import (
	"bufio"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// server is a mail server that answers as its table says for the beginning of a command, and otherwise with success. "" hangs, "-" cuts the
// connection.
func server(t *testing.T, answers map[string]string) (m *Mailer, took func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	done := make(chan []string, 1)
	go func() {
		var lines []string
		defer func() { done <- lines }()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		say := func(command, usual string) bool {
			for begin, s := range answers {
				if strings.HasPrefix(command, begin) {
					usual = s
				}
			}
			switch usual {
			case "-":
				return false
			case "":
				_, _ = bufio.NewReader(c).ReadByte() // until the client goes
				return false
			}
			_, err := c.Write([]byte(usual + "\r\n"))
			return err == nil
		}
		if !say("CONNECT", "220 mx.example.org ESMTP") {
			return
		}
		data := false
		for in := bufio.NewReader(c); ; {
			s, err := in.ReadString('\n')
			if err != nil {
				return
			}
			s = strings.TrimSuffix(s, "\r\n")
			lines = append(lines, s)
			ok := true
			switch {
			case data && s == ".":
				data = false
				ok = say("END", "250 2.0.0 Ok: queued as 4F2A")
			case data:
			case s == "DATA":
				data = true
				ok = say(s, "354 go on")
			case strings.HasPrefix(s, "EHLO"):
				ok = say(s, "250-mx.example.org\r\n250 SIZE 10240000")
			case s == "QUIT":
				say(s, "221 bye")
				return
			default:
				ok = say(s, "250 2.1.0 Ok")
			}
			if !ok {
				return
			}
		}
	}()
	m, err = New(&config.Report{Sender: "bailiff", Sendmail: config.Sendmail{SMTP: l.Addr().String(), TimeLimit: 2 * time.Minute}}, "mail.example.org")
	if err != nil {
		t.Fatal(err)
	}
	return m, func() []string { return <-done }
}

func TestSMTP(t *testing.T) {
	m, took := server(t, nil)
	r, err := m.Send(t.Context(), []string{"root", "ops@example.net"}, []byte("Subject: x\r\n\r\n.\r\n..\r\nend\r\n"))
	if err != nil || r.Answer != "2.0.0 Ok: queued as 4F2A" {
		t.Errorf("%+v, %v", r, err)
	}
	want := "EHLO mail.example.org|MAIL FROM:<bailiff@mail.example.org>|RCPT TO:<root@mail.example.org>|RCPT TO:<ops@example.net>|DATA|Subject: x||..|...|end|.|QUIT"
	if got := strings.Join(took(), "|"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSMTPAnswers(t *testing.T) {
	for _, c := range []struct {
		answers  map[string]string
		rejected string // of what; "": tried again; "-": sent
		text     string
	}{
		{map[string]string{"CONNECT": "554 no"}, "", "554 no"},
		{map[string]string{"CONNECT": "-"}, "", "EOF"},
		{map[string]string{"EHLO": "502 what"}, "-", "2.0.0 Ok: queued as 4F2A"},
		{map[string]string{"EHLO": "502 what", "HELO": "421 later"}, "", "421 later"},
		{map[string]string{"MAIL": "550 not you"}, "", "550 not you"},
		{map[string]string{"RCPT": "550 unknown"}, "recipients", "ops@example.net: 550 unknown"},
		{map[string]string{"RCPT TO:<root": "550 unknown"}, "-", "2.0.0 Ok: queued as 4F2A, but not for root: 550 unknown"},
		{map[string]string{"RCPT TO:<root": "450 greylisted"}, "", "450 greylisted"},
		{map[string]string{"DATA": "451 disk"}, "", "451 disk"},
		{map[string]string{"END": "552 too large"}, "mail", "552 too large"},
		{map[string]string{"END": "451-a\x1b[31m\r\n451 b"}, "", "451 a [31m b"},
		{map[string]string{"END": "-"}, "", "EOF"},
		{map[string]string{"QUIT": "-"}, "-", "2.0.0 Ok: queued as 4F2A"},
		{map[string]string{"RCPT": ""}, "", "no answer within 100ms"},
	} {
		m, _ := server(t, c.answers)
		if strings.Contains(c.text, "100ms") {
			m.conf.TimeLimit = 100 * time.Millisecond
		}
		r, err := m.Send(t.Context(), []string{"root", "ops@example.net"}, []byte("x\r\n"))
		if c.rejected == "-" {
			if err != nil || r.Answer != c.text {
				t.Errorf("%v: %+v, %v", c.answers, r, err)
			}
			continue
		}
		var retry *report.Retry
		var refused *report.Refused
		var no *Rejected
		if c.rejected == "" && !errors.As(err, &retry) || c.rejected != "" && (!errors.As(err, &refused) || !errors.As(err, &no) || no.Of != c.rejected) {
			t.Errorf("%v: %T %v", c.answers, err, err)
			continue
		}
		if s := err.Error(); !strings.HasPrefix(s, "mail server 127.0.0.1:") || !strings.HasSuffix(s, c.text) {
			t.Errorf("%v: %v", c.answers, err)
		}
	}
}
