package registry

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/units/atomicfile"
)

const (
	maxKept   = 500             // networks that outlive the process: at most 8 MB, 1 MB as a rule
	maxFile   = 16 << 20        // bytes
	keepAfter = 5 * time.Second // of a first new answer until the file is written
)

// kept is one answer in the file. bailiff-report stops when it has nothing to do; its next run need not ask again.
type kept struct {
	Until time.Time     `json:"until"`
	Whois *report.Whois `json:"whois"`
}

// load reads what an earlier process kept. Whatever is wrong with it, it is but a cache.
func (r *Registry) load() {
	f, err := os.Open(r.file)
	if err != nil {
		return
	}
	defer f.Close()
	data, err := readAll(f, maxFile)
	var all []kept
	if err != nil || json.Unmarshal(data, &all) != nil {
		return
	}
	now := r.now()
	for _, k := range slices.Backward(all[:min(len(all), maxKept)]) { // the one used last stands first
		w := k.Whois
		if w == nil || w.Failed != "" || !usable(w.Network) || w.Network != w.Network.Masked() || w.Asked.After(now) {
			continue
		}
		// Neither a longer time than is configured now, nor than there was.
		until := w.Asked.Add(r.cfg.Cache)
		if k.Until.Before(until) {
			until = k.Until
		}
		w.Abuse = slices.DeleteFunc(w.Abuse, func(a string) bool { return !config.ValidAddress(a) })
		r.cache.put(w, netip.Prefix{}, now, until.Sub(now))
	}
}

// Keep writes the answers to Options.File, if there is one. It is done by itself a little after each new answer.
func (r *Registry) Keep() error {
	if r.file == "" {
		return nil
	}
	r.mu.Lock()
	r.keeping = false
	var all []kept
	for e := r.cache.used.Front(); e != nil && len(all) < maxKept; e = e.Next() {
		if x := e.Value.(*cached); x.w.Failed == "" {
			all = append(all, kept{x.until, x.w})
		}
	}
	r.mu.Unlock()
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return atomicfile.Write(r.file, data, 0o600)
}

// keepSoon has the file written once for all answers of the next seconds. r.mu is held.
func (r *Registry) keepSoon() {
	if r.file == "" || r.keeping {
		return
	}
	r.keeping = true
	time.AfterFunc(keepAfter, func() { _ = r.Keep() }) // a cache that is not written costs a question
}
