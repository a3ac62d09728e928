package fleet

import (
	"crypto/ed25519"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// To read 100,000 messages and check their signatures takes seconds. So a host also sends its bans in pages, with one signature for many,
// which a new host reads first. A page says nothing that its host has not said in messages: old pages do as little harm as old messages.

const (
	// PageNews is how many bans a page has at most.
	PageNews = 64

	// MaxPage is the largest payload of a page, in bytes; some 1,000 are usual.
	MaxPage = 2048

	// MaxPages is how many pages a host has.
	MaxPages = 1 << 12

	pageToken   = "+page"
	pageVersion = 1
	leastNews   = 9 // bytes
)

// PagesSubject matches the subjects of all pages: ban.HOST.+page.NUMBER. No jail has such a name.
const PagesSubject = "ban.*." + pageToken + ".*"

// PageSubject returns the subject of a host's page.
func PageSubject(host string, number int) string {
	return "ban." + host + "." + pageToken + "." + strconv.Itoa(number)
}

// IsPage reports whether a subject is that of a page.
func IsPage(subject string) bool {
	part := strings.SplitN(subject, ".", 4)
	return len(part) == 4 && part[2] == pageToken
}

// SignPage makes a host's page of this number with the first n of its bans, as many as fit, and returns n. A page without bans replaces
// one that is no longer needed.
func SignPage(host string, number int, l []News, key ed25519.PrivateKey) (m *Message, n int, err error) {
	if !ValidHost(host) || number < 0 || number >= MaxPages {
		return nil, 0, fmt.Errorf("page %d of host %q cannot be sent", number, host)
	}
	n = min(len(l), PageNews)
	m = &Message{Subject: PageSubject(host, number), Payload: encodePage(l[:n])}
	for len(m.Payload) > MaxPage {
		n /= 2
		m.Payload = encodePage(l[:n])
	}
	m.Signature = ed25519.Sign(key, m.signed())
	return m, n, nil
}

func encodePage(l []News) []byte {
	s := codec.NewWriter(nil)
	streamPage(s, &l)
	return s.Bytes()
}

// streamPage writes or reads the bans of a page. Times are written as differences, names once.
func streamPage(s *codec.Stream, l *[]News) {
	version := byte(pageVersion)
	s.Byte(&version)
	s.Check(version == pageVersion, "another version")
	var jails, reasons []string
	for _, n := range *l {
		if !slices.Contains(jails, n.Jail) {
			jails = append(jails, n.Jail)
		}
		if !slices.Contains(reasons, n.Reason) {
			reasons = append(reasons, n.Reason)
		}
	}
	codec.List(s, &jails, 1, s.Text)
	codec.List(s, &reasons, 1, s.Text)
	var before int64
	codec.List(s, l, leastNews, func(n *News) {
		var k prefix.Key
		var jail, reason int
		var lasts int64 // 0: forever
		since := n.Since - before
		if !s.Reading {
			k, jail, reason = prefix.OfPrefix(n.Prefix), slices.Index(jails, n.Jail), slices.Index(reasons, n.Reason)
			if n.Until != Forever {
				lasts = n.Until - n.Since
			}
		}
		s.Key(&k)
		codec.Number(s, &jail, max(len(jails)-1, 0))
		codec.Number(s, &reason, max(len(reasons)-1, 0))
		codec.Number(s, &n.Failures, math.MaxInt32)
		s.Time(&since)
		s.Time(&lasts)
		s.Check(len(jails) > 0 && len(reasons) > 0, "a ban without names")
		if s.Reading && s.OK() {
			n.Prefix, n.Jail, n.Reason, n.Since, n.Until = k.Prefix(), jails[jail], reasons[reason], before+since, Forever
			if lasts != 0 {
				n.Until = min(n.Since+lasts, farFuture)
			}
		}
		before += since
	})
}

// openPage reads a page whose signature has been checked.
func openPage(m *Message) (number int, l []News, err error) {
	host, text := Sender(m.Subject), m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	number, err = strconv.Atoi(text)
	if err != nil || number < 0 || number >= MaxPages || strconv.Itoa(number) != text || !IsPage(m.Subject) || !ValidHost(host) {
		return 0, nil, ErrSubject
	}
	s := codec.NewReader(m.Payload)
	streamPage(s, &l)
	if s.End() != nil || len(l) > PageNews {
		return 0, nil, ErrPayload
	}
	for i := range l {
		if l[i].Host = host; !l[i].valid() {
			return 0, nil, ErrPayload
		}
	}
	return number, l, nil
}

// Page is what a page says.
type Page struct {
	Number int
	News   []News
}

// OpenPages checks pages as OpenAll checks messages, and returns those that are right. keys is as in Open.
func OpenPages(l []Message, keys func(host string) []ed25519.PublicKey) (pages []Page, rejected int) {
	for some := range slices.Chunk(l, batchSize) {
		proven := len(some) >= smallBatch && verifyBatch(some, keys)
		for i := range some {
			m := &some[i]
			if len(m.Payload) <= MaxPage && (proven || m.verify(keys(Sender(m.Subject)))) {
				if number, news, err := openPage(m); err == nil {
					pages = append(pages, Page{number, news})
					continue
				}
			}
			rejected++
		}
	}
	return pages, rejected
}
