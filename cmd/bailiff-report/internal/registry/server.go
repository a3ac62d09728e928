package registry

import (
	"errors"
	"fmt"
	"time"

	"bailiff/policy/bucket"
)

// serverLimit is how often each server is asked. The registries do not publish their limits: RIPE NCC allows a thousand queries for
// personal data a day, ARIN and LACNIC have refused at about ten a minute.
var serverLimit = bucket.Limit{Size: 20, Every: 3 * time.Second}

const (
	// pauseTime is how long a server is not asked after it failed, so that not every report waits for the same time-out.
	pauseTime = 30 * time.Second
	maxPause  = time.Hour // that a server can ask for with Retry-After

	maxServers = 100 // that are remembered; answers name them
)

// server is what is known about one server.
type server struct {
	rate   bucket.Bucket
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
	if s == nil {
		if len(r.servers) >= maxServers {
			r.forget(now)
		}
		s = new(server)
		r.servers[name] = s
	}
	if now.Before(s.paused) {
		return fmt.Errorf("%s: not asked again before %s: %s", name, s.paused.UTC().Format("15:04:05Z"), s.why)
	}
	if s.rate.Take(serverLimit, now) > 0 {
		return fmt.Errorf("%s: %w", name, errLimit)
	}
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
		if s.rate.Full(serverLimit, now) && now.After(s.paused) {
			delete(r.servers, name)
		}
	}
	if len(r.servers) >= maxServers {
		clear(r.servers)
	}
}
