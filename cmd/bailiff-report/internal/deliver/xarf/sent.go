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

	maxFile = 16 << 20 // bytes
	maxSent = 100_000  // complaints that are remembered: 10 MB
)

// sentLog records which complaints were sent, for items whose other complaints have to be retried, and how many mails each contact got. It
// is a file in bailiff-report's state folder, written after each mail.
type sentLog struct {
	path    string // "": nothing is saved
	written bool   // the last attempt to write the file succeeded; false before the first

	Sent     map[string]int64   `json:"sent"`     // time by key of the complaint, in seconds since 1970
	Contacts map[string][]int64 `json:"contacts"` // times of mails in the last 24 hours, by address
}

// errContent means that a file is there, but is not a log of sent complaints.
var errContent = errors.New("remove it")

// openSentLog reads the file. A file that cannot be read is an error: without it contacts would get mails twice. errContent is for an
// administrator; any other error may pass.
func openSentLog(folder, name string) (*sentLog, error) {
	b := &sentLog{Sent: make(map[string]int64), Contacts: make(map[string][]int64)}
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
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes: %w", b.path, maxFile, errContent)
	}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", b.path, err, errContent)
	}
	if b.Sent == nil || b.Contacts == nil {
		return nil, fmt.Errorf("%s: incomplete: %w", b.path, errContent)
	}
	return b, nil
}

// has reports whether a complaint was sent.
func (b *sentLog) has(key string) bool { return b.Sent[key] != 0 }

// retryAfter returns how long a contact that got limit mails must not get another one; 0: it may.
func (b *sentLog) retryAfter(contact string, limit int, now time.Time) time.Duration {
	times := b.Contacts[strings.ToLower(contact)]
	n := 0
	var oldest time.Time
	for _, s := range times {
		t := time.Unix(s, 0)
		if t.After(now) || now.Sub(t) >= day { // a time in the future was written when the clock was wrong
			continue
		}
		if n++; oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	if n < limit {
		return 0
	}
	return oldest.Add(day).Sub(now)
}

// record records that a complaint was sent to contacts, and removes complaints older than keep, of which no item is tried again.
func (b *sentLog) record(key string, contacts []string, now time.Time, keep time.Duration) error {
	b.Sent[key] = now.Unix()
	for _, c := range contacts {
		c = strings.ToLower(c)
		b.Contacts[c] = append(b.Contacts[c], now.Unix())
	}
	for k, s := range b.Sent {
		if now.Sub(time.Unix(s, 0)) > keep {
			delete(b.Sent, k)
		}
	}
	if len(b.Sent) > maxSent { // the older half belongs to items that are finished, or nearly
		times := slices.Sorted(maps.Values(b.Sent))
		middle := times[len(times)/2]
		maps.DeleteFunc(b.Sent, func(_ string, t int64) bool { return t <= middle })
		b.Sent[key] = now.Unix()
	}
	for c, times := range b.Contacts {
		kept := times[:0]
		for _, s := range times {
			if t := time.Unix(s, 0); !t.After(now) && now.Sub(t) < day {
				kept = append(kept, s)
			}
		}
		if b.Contacts[c] = kept; len(kept) == 0 {
			delete(b.Contacts, c)
		}
	}
	return b.write()
}

func (b *sentLog) write() error {
	if b.path == "" {
		return nil
	}
	data, err := json.Marshal(b)
	if err == nil {
		err = atomicfile.Write(b.path, data, 0o600)
	}
	b.written = err == nil
	return err
}
