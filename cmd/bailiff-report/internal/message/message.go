// Package message writes mails: MIME (RFC 2045) in ASCII, with lines that every mail system takes. It knows nothing of reports.
//
// It is done by hand because no library writes what is needed here: the same bytes in every attempt (Message-ID and boundary follow
// from the item's key), folded headers, and parts of the kinds that X-ARF asks for.
//
// Start reading at Message.
package message

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime/quotedprintable"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// Message is a mail (RFC 5322, RFC 2045). Its texts cannot end a header or a part early.
type Message struct {
	ID      string // Message-ID without angle brackets: see the function ID
	Name    string // of the sender, for people
	From    string // address, checked with config.ValidRecipient
	To      []string
	Host    string // is added to addresses without an @
	Subject string
	Date    time.Time
	Agent   string      // X-Mailer
	Header  [][2]string // further fields, in this order
	Kind    string      // Content-Type if there are several parts; "": multipart/mixed
	Parts   []Part      // at least one
}

// Part is one part of a Message.
type Part struct {
	Type string // Content-Type; for text, charset=utf-8 is added
	Name string // of the attached file, [A-Za-z0-9.-]; "": not an attachment
	Body []byte // lines of text end with \n
}

// ID makes the Message-ID of an item, without angle brackets: the same in every attempt.
func ID(key, host string) string {
	if !config.ValidRecipient("bailiff." + key) { // a dot-atom
		sum := sha256.Sum256([]byte(key))
		key = hex.EncodeToString(sum[:16])
	}
	return "bailiff." + key + "@" + validHost(host)
}

func validHost(host string) string {
	if config.ValidHost(host) {
		return host
	}
	return "localhost.localdomain"
}

// Bytes returns the message in ASCII. Lines end with CRLF and have at most 78 bytes, headers of one long word at most 998 (RFC 5322,
// 2.1.1).
func (m *Message) Bytes() []byte {
	var b bytes.Buffer
	field := func(name, value string) { writeField(&b, name, value) }
	field("Date", m.Date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	field("From", phrase(m.Name)+"<"+m.full(m.From)+">")
	to := make([]string, len(m.To))
	for i, a := range m.To {
		to[i] = m.full(a)
	}
	field("To", strings.Join(to, ", "))
	field("Subject", encoded(m.Subject))
	field("Message-ID", "<"+m.ID+">")
	// RFC 3834: no automatic answers. The two others are for Exchange and for old programs.
	field("Auto-Submitted", "auto-generated")
	field("X-Auto-Response-Suppress", "All")
	field("Precedence", "bulk")
	if m.Agent != "" {
		field("X-Mailer", encoded(m.Agent))
	}
	for _, h := range m.Header {
		field(h[0], encoded(h[1]))
	}
	field("MIME-Version", "1.0")
	if len(m.Parts) == 1 && m.Parts[0].Name == "" {
		m.Parts[0].write(&b)
		return b.Bytes()
	}
	kind, boundary := m.Kind, m.boundary()
	if kind == "" {
		kind = "multipart/mixed"
	}
	field("Content-Type", kind+"; boundary=\""+boundary+"\"")
	b.WriteString("\r\nThis is a message in MIME format.\r\n")
	for i := range m.Parts {
		b.WriteString("\r\n--" + boundary + "\r\n")
		m.Parts[i].write(&b)
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes()
}

// boundary is made from the Message-ID. It cannot occur in a part: neither quoted-printable nor base64 contains "=_".
func (m *Message) boundary() string {
	sum := sha256.Sum256([]byte(m.ID))
	return "=_" + hex.EncodeToString(sum[:12])
}

func (m *Message) full(address string) string {
	if !strings.Contains(address, "@") {
		address += "@" + validHost(m.Host)
	}
	return address
}

func (p *Part) write(b *bytes.Buffer) {
	kind, text := p.Type, strings.HasPrefix(p.Type, "text/")
	if text && !strings.Contains(kind, "charset") {
		kind += "; charset=utf-8"
	}
	if p.Name != "" {
		writeField(b, "Content-Disposition", "attachment; filename=\""+p.Name+"\"")
	}
	writeField(b, "Content-Type", kind)
	if text || strings.HasPrefix(p.Type, "message/") && isPlain(p.Body) {
		if strings.HasPrefix(p.Type, "message/") { // RFC 2046, 5.2.1: such parts are not encoded
			writeField(b, "Content-Transfer-Encoding", "7bit")
			b.WriteString("\r\n")
			b.Write(bytes.ReplaceAll(p.Body, []byte("\n"), []byte("\r\n")))
			return
		}
		writeField(b, "Content-Transfer-Encoding", "quoted-printable")
		b.WriteString("\r\n")
		quotePrintable(b, p.Body)
		return
	}
	writeField(b, "Content-Transfer-Encoding", "base64")
	b.WriteString("\r\n")
	for body := p.Body; len(body) > 0; {
		n := min(57, len(body))
		b.WriteString(base64.StdEncoding.EncodeToString(body[:n]))
		b.WriteString("\r\n")
		body = body[n:]
	}
}

// isPlain reports whether text needs no encoding.
func isPlain(b []byte) bool {
	for _, line := range bytes.Split(b, []byte("\n")) {
		if len(line) > 998 || bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }) {
			return false
		}
	}
	return true
}

const lineLimit = 78 // RFC 5322, 2.1.1

// writeField writes a header field, folded at spaces.
func writeField(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ":")
	at := len(name) + 1
	for i, word := range strings.Split(value, " ") {
		if i > 0 && word != "" && at+1+len(word) > lineLimit {
			b.WriteString("\r\n")
			at = 0
		}
		b.WriteString(" " + word)
		at += 1 + len(word)
	}
	b.WriteString("\r\n")
}

// encoded makes one line of printable ASCII of a text, with encoded words (RFC 2047) where it is not that already.
func encoded(s string) string {
	s = safetext.Line(s, maxHeader)
	longest := 0
	for word := range strings.SplitSeq(s, " ") {
		longest = max(longest, len(word))
	}
	plain := !strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) && !strings.Contains(s, "=?")
	if plain && longest <= lineLimit-2 {
		return s
	}
	// Not mime.BEncoding: it leaves long words as they are, and words that look like encoded ones.
	var words []string
	for s != "" {
		n := min(45, len(s)) // 60 letters of base64: with the frame 72 of the 75 that a word may have
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?UTF-8?B?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

// maxHeader bounds a header's text, in bytes. A subject is read in a list of mails.
const maxHeader = 500

// phrase is a name before an address (RFC 5322, 3.2.5).
func phrase(s string) string {
	s = encoded(s)
	if s == "" {
		return ""
	}
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -") == "" || strings.HasPrefix(s, "=?") {
		return s + " "
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `" `
}

// quotePrintable writes text in quoted-printable (RFC 2045, 6.7). Its lines end with \n. A dot and "From " at the beginning of a line
// are written as codes as well, so that no mail system has a reason to change them.
func quotePrintable(b *bytes.Buffer, text []byte) {
	var plain bytes.Buffer
	w := quotedprintable.NewWriter(&plain)
	w.Write(append(bytes.TrimSuffix(text, []byte("\n")), '\n')) // a bytes.Buffer takes everything
	w.Close()
	for line := range bytes.Lines(plain.Bytes()) {
		if line[0] == '.' || bytes.HasPrefix(line, []byte("From ")) {
			fmt.Fprintf(b, "=%02X=\r\n", line[0]) // a line of its own, since this one may have its full length
			line = line[1:]
		}
		b.Write(line)
	}
}

// Address returns the sender's address for an argument or a header: the configured one, or bailiff at the host.
func Address(sender, host string) string {
	if sender == "" {
		return "bailiff@" + validHost(host)
	}
	return sender
}
