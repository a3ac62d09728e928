package registry

import (
	"errors"
	"fmt"
	"time"
)

// What a server is asked at most: a burst, then one question every so often. The registries do not say where they begin to
// refuse; RIPE NCC's limit for personal data is a thousand a day, ARIN's and LACNIC's have been met at some ten a minute.
const (
	burst  = 20
	refill = 3 * time.Second

	// restFor is how long a server that failed is left alone: reports do not all wait for the same time-out.
	restFor = 30 * time.Second
	maxRest = time.Hour // that a server can ask for with Retry-After

	maxServers = 100 // remembered; strangers name them
)

// server is what is known about one server.
type server struct {
	tokens float64
	at     time.Time // when there were so many
	rests  time.Time // until then
	why    string
}

// errLimit says that our own limit is reached.
var errLimit = errors.New("rate limit")

// take asks for leave to put one question to a server.
func (r *Registry) take(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	s := r.servers[name]
	if s == nil || s.at.After(now) { // or the clock was set back
		if s == nil && len(r.servers) >= maxServers {
			r.forget(now)
		}
		s = &server{tokens: burst, at: now}
		r.servers[name] = s
	}
	if now.Before(s.rests) {
		return fmt.Errorf("%s: not asked again before %s: %s", name, s.rests.UTC().Format("15:04:05Z"), s.why)
	}
	s.tokens = min(burst, s.tokens+float64(now.Sub(s.at))/float64(refill))
	s.at = now
	if s.tokens < 1 {
		return fmt.Errorf("%s: %w", name, errLimit)
	}
	s.tokens--
	return nil
}

// rest leaves a server alone for a while.
func (r *Registry) rest(name string, d time.Duration, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.servers[name]; s != nil {
		s.rests, s.why = r.now().Add(min(d, maxRest)), why.Error()
	}
}

// forget drops the servers that have been left alone long enough to be new again, and if there are none, all.
func (r *Registry) forget(now time.Time) {
	for name, s := range r.servers {
		if now.Sub(s.at) > burst*refill && now.After(s.rests) {
			delete(r.servers, name)
		}
	}
	if len(r.servers) >= maxServers {
		clear(r.servers)
	}
}
