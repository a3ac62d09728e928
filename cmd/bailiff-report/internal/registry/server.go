package registry

import (
	"errors"
	"fmt"
	"time"
)

// Each server is asked at most burst questions at once, then one every refill. The registries do not publish their limits: RIPE NCC
// allows a thousand queries for personal data a day, ARIN and LACNIC have refused at about ten a minute.
const (
	burst  = 20
	refill = 3 * time.Second

	// pauseTime is how long a server is not asked after it failed, so that not every report waits for the same time-out.
	pauseTime = 30 * time.Second
	maxPause  = time.Hour // that a server can ask for with Retry-After

	maxServers = 100 // that are remembered; answers name them
)

// server is what is known about one server.
type server struct {
	tokens float64
	at     time.Time // of tokens
	paused time.Time // not asked before
	why    string    // it is paused
}

// errLimit is the error when this host has asked a server often enough.
var errLimit = errors.New("rate limit")

// take counts a question to a server, or returns why it must not be asked now.
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
	if now.Before(s.paused) {
		return fmt.Errorf("%s: not asked again before %s: %s", name, s.paused.UTC().Format("15:04:05Z"), s.why)
	}
	s.tokens = min(burst, s.tokens+float64(now.Sub(s.at))/float64(refill))
	s.at = now
	if s.tokens < 1 {
		return fmt.Errorf("%s: %w", name, errLimit)
	}
	s.tokens--
	return nil
}

// pause keeps a server from being asked for a while.
func (r *Registry) pause(name string, d time.Duration, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.servers[name]; s != nil {
		s.paused, s.why = r.now().Add(min(d, maxPause)), why.Error()
	}
}

// forget drops the servers whose counts are back at their start, or all if there are none.
func (r *Registry) forget(now time.Time) {
	for name, s := range r.servers {
		if now.Sub(s.at) > burst*refill && now.After(s.paused) {
			delete(r.servers, name)
		}
	}
	if len(r.servers) >= maxServers {
		clear(r.servers)
	}
}
