package xarf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/units/atomicfile"
)

const (
	day = 24 * time.Hour

	maxBook = 16 << 20 // bytes
	maxSent = 100_000  // complaints that are remembered: 10 MB
)

// book remembers who was sent what: which complaints of an item are gone already, when another of it has to be tried
// again, and how many mails a contact had. It is a file of bailiff-report's state folder, written anew after each mail.
type book struct {
	path string // "": nothing is kept
	page page
}

type page struct {
	Sent     map[string]int64   `json:"sent"`     // key of a complaint: when, in seconds since 1970
	Contacts map[string][]int64 `json:"contacts"` // address: when it had mails of the last 24 hours
}

// openBook reads what was kept. A book that cannot be read is an error: without it contacts would be told twice.
func openBook(folder, name string) (*book, error) {
	b := &book{page: page{Sent: make(map[string]int64), Contacts: make(map[string][]int64)}}
	if folder == "" {
		return b, nil
	}
	b.path = filepath.Join(folder, "xarf-"+name+".json")
	data, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	if len(data) > maxBook {
		return nil, fmt.Errorf("%s: is larger than %d bytes: remove it", b.path, maxBook)
	}
	if err := json.Unmarshal(data, &b.page); err != nil {
		return nil, fmt.Errorf("%s: %w: remove it", b.path, err)
	}
	if b.page.Sent == nil {
		b.page.Sent = make(map[string]int64)
	}
	if b.page.Contacts == nil {
		b.page.Contacts = make(map[string][]int64)
	}
	return b, nil
}

// sent says whether a complaint is gone already.
func (b *book) sent(key string) bool { return b.page.Sent[key] != 0 }

// room says how long a contact has had enough; 0: it may have another mail.
func (b *book) room(contact string, most int, now time.Time) time.Duration {
	times := b.page.Contacts[strings.ToLower(contact)]
	n := 0
	var oldest time.Time
	for _, s := range times {
		t := time.Unix(s, 0)
		if t.After(now) || now.Sub(t) >= day { // what is in the future was written by a clock that was wrong
			continue
		}
		if n++; oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	if n < most {
		return 0
	}
	return oldest.Add(day).Sub(now)
}

// note keeps that a complaint went to contacts, and forgets what no longer matters: complaints older than keep, for which
// no item is tried again.
func (b *book) note(key string, contacts []string, now time.Time, keep time.Duration) error {
	b.page.Sent[key] = now.Unix()
	for _, c := range contacts {
		c = strings.ToLower(c)
		b.page.Contacts[c] = append(b.page.Contacts[c], now.Unix())
	}
	for k, s := range b.page.Sent {
		if now.Sub(time.Unix(s, 0)) > keep {
			delete(b.page.Sent, k)
		}
	}
	if len(b.page.Sent) > maxSent { // the older half belongs to items that are over, or nearly so
		times := slices.Sorted(maps.Values(b.page.Sent))
		middle := times[len(times)/2]
		maps.DeleteFunc(b.page.Sent, func(_ string, t int64) bool { return t <= middle })
		b.page.Sent[key] = now.Unix()
	}
	for c, times := range b.page.Contacts {
		kept := times[:0]
		for _, s := range times {
			if t := time.Unix(s, 0); !t.After(now) && now.Sub(t) < day {
				kept = append(kept, s)
			}
		}
		if b.page.Contacts[c] = kept; len(kept) == 0 {
			delete(b.page.Contacts, c)
		}
	}
	return b.write()
}

func (b *book) write() error {
	if b.path == "" {
		return nil
	}
	data, err := json.Marshal(b.page)
	if err != nil {
		return err
	}
	return atomicfile.Write(b.path, data, 0o600)
}
