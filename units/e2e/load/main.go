// Command load writes sshd's failure lines to the journal at a steady rate and measures how soon the addresses are in the
// kernel's sets. It runs on a host of package host, as a process named sshd in ssh.service's cgroup: then journald vouches
// for its lines as it does for sshd's own. It never opens a network connection.
//
//	load -lines 6000 -rate 2000 -addresses 1000                    just lines
//	load -rate 20 -trials 100 -failures 5 -set bailiff4            latency; as JSON on stdout
//	load -rate 20 -trials 100 -lines 500 -failures 5 -set bailiff4   the same, and 100 addresses, no more
//	load -web -rate 20000 -trials 100 -failures 2000 -set bailiff4   requests; three in every 2000 are an attacker's
//	load -rate 20 -turns 100 -failures 5 -tell 1                   lines of one address after the other; their times on stdout
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	lines := flag.Int("lines", 0, "failure lines to write; with trials 0 means until these are done")
	rate := flag.Int("rate", 0, "lines a second; 0 means as fast as journald takes them")
	addresses := flag.Int("addresses", 1000, "addresses that take turns, when there are no trials")
	base := flag.Int("base", 0, "number of the first address in 198.18.0.0/15")
	trials := flag.Int("trials", 0, "measure this many bans")
	failures := flag.Int("failures", 5, "lines of one address that lead to its ban")
	turns := flag.Int("turns", 0, "so many addresses, each with its failures in a row")
	tell := flag.Int("tell", 1, "tell of every so manieth turn, and of the last: begin ADDRESS, and last ADDRESS NANOSECONDS before the last line")
	sets := flag.String("set", "", "names of the IPv4 sets to look into, with commas")
	web := flag.Bool("web", false, "write nginx's access log to the journal namespace web instead")
	flag.Parse()

	j, err := dialJournal(*web)
	if err != nil {
		return err
	}
	j.failures = *failures
	if *turns > 0 {
		return inTurn(j, *turns, *failures, *rate, *base, *tell)
	}
	if *trials == 0 {
		return flood(j, *lines, *rate, *addresses, *base)
	}
	r, err := measure(j, *trials, *lines, *failures, *rate, *base, strings.Split(*sets, ","))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// address is the n-th of 198.18.0.0/15 (RFC 2544).
func address(n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 198<<24|18<<16+uint32(n)&0x1ffff)
	return netip.AddrFrom4(b)
}

// journal writes as sshd's syslog() does.
type journal struct {
	conn     *net.UnixConn
	web      bool
	failures int // with web: of this many lines, the last three are an attacker's
}

func dialJournal(web bool) (journal, error) {
	name := "/run/systemd/journal/dev-log"
	if web {
		name = "/run/systemd/journal.web/dev-log"
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	return journal{conn: c, web: web}, err
}

// secrets are what an attacker asks a web server for.
var secrets = []string{"/.env", "/.git/config", "/.aws/credentials"}

// request writes one line of nginx's access log: a visitor's, or one of the attacker's.
func (j journal) request(attacker netip.Addr, n int) error {
	from, path, status := address(1<<16+n%5000), fmt.Sprintf("/assets/app-%d.js?v=12", n%1000), 200
	if n%50 == 0 {
		path, status = fmt.Sprintf("/wp-content/uploads/%d.jpg", n%1000), 404
	}
	if k := n%j.failures - (j.failures - len(secrets)); k >= 0 {
		from, path, status = attacker, secrets[k], 404
	}
	now := time.Now()
	_, err := fmt.Fprintf(j.conn, "<30>%s nginx: %s - - [%s] \"GET %s HTTP/2.0\" %d 15312 \"https://www.example.org/shop/\" "+
		"\"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\" \"-\"", now.Format(time.Stamp), from, now.Format("02/Jan/2006:15:04:05 -0700"), path, status)
	return err
}

// failure writes one line, each from another port, so that lines can be told apart. Each address tries one account of its
// own, so that nothing but the number of its failures leads to its ban.
func (j journal) failure(a netip.Addr, n int) error {
	if j.web {
		return j.request(a, n)
	}
	_, err := fmt.Fprintf(j.conn, "<38>%s sshd[%d]: Failed password for of-%s from %s port %d ssh2",
		time.Now().Format(time.Stamp), os.Getpid(), a, a, 1024+n%60000)
	return err
}

// pace waits until the n-th line is due, at rate lines a second (0: at once).
func pace(begin time.Time, n, rate int) {
	if rate > 0 {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(rate))))
	}
}

func flood(j journal, lines, rate, addresses, base int) error {
	begin := time.Now()
	for i := range lines {
		pace(begin, i, rate)
		if err := j.failure(address(base+i%addresses), i); err != nil {
			return err
		}
	}
	d := time.Since(begin)
	fmt.Printf("%d lines of %d addresses in %.2f s: %.0f a second\n", lines, addresses, d.Seconds(), float64(lines)/d.Seconds())
	return nil
}

// inTurn writes the lines of one address after the other, and prints their times for a test that watches the address's packets.
func inTurn(j journal, turns, failures, rate, base, tell int) error {
	begin := time.Now()
	for i := range turns * failures {
		pace(begin, i, rate)
		turn := i / failures
		a := address(base + turn)
		told := turn%tell == 0 || turn == turns-1
		if told && i%failures == 0 {
			fmt.Printf("begin %s %d\n", a, time.Now().UnixNano())
		}
		if told && i%failures == failures-1 {
			fmt.Printf("last %s %d\n", a, time.Now().UnixNano())
		}
		if err := j.failure(a, i); err != nil {
			return err
		}
	}
	return nil
}

// Result is what measure found; times in milliseconds, sorted.
type Result struct {
	Lines   int       `json:"lines"`
	Rate    float64   `json:"rate"`    // lines a second, as written
	First   float64   `json:"first"`   // as Ban, for the very first address, which comes after a quiet time
	Ban     []float64 `json:"ban"`     // from before the write of the last failing line until its address is in a set
	Inotify []float64 `json:"inotify"` // from the same moment until inotify reported the next change of the journal file
	Missed  int       `json:"missed"`  // addresses that were in no set after ten seconds
}

// measure writes the lines of one address after the other, each with the given number of failures, at the given rate and without a
// break, until enough bans (trials) are measured or enough lines are written (0: no limit). It watches one address at a time, the next
// one when the previous one was seen in a set.
func measure(j journal, trials, lines, failures, rate, base int, sets []string) (*Result, error) {
	ipset, err := dialIPSet()
	if err != nil {
		return nil, err
	}
	changes, err := watchJournal(j.web)
	if err != nil {
		return nil, err
	}
	var (
		r       Result
		last    = make(chan probe) // the next line is the last one that the address needs
		written = make(chan error, 1)
		stop    atomic.Bool
	)
	go func() {
		defer close(last)
		begin := time.Now()
		for i := 0; (lines == 0 || i < lines) && !stop.Load(); i++ {
			pace(begin, i, rate)
			a := address(base + i/failures)
			if i%failures == failures-1 {
				select {
				case last <- probe{a, time.Now()}:
				default: // another one is being watched
				}
			}
			if err := j.failure(a, i); err != nil {
				written <- err
				return
			}
			r.Lines++
		}
		r.Rate = float64(r.Lines) / time.Since(begin).Seconds()
		written <- nil
	}()
	for len(r.Ban)+r.Missed < trials {
		p, ok := <-last
		if !ok {
			break
		}
		for {
			in := false
			for _, s := range sets {
				if in, err = ipset.contains(s, p.addr); err != nil {
					return nil, err
				} else if in {
					break
				}
			}
			now := time.Now()
			if in {
				if d := milliseconds(now.Sub(p.at)); r.First == 0 {
					r.First = d
				} else {
					r.Ban = append(r.Ban, d)
				}
				break
			}
			if now.Sub(p.at) > 10*time.Second {
				r.Missed++
				break
			}
			time.Sleep(100 * time.Microsecond)
		}
		if at, ok := changes.after(p.at, 2*time.Second); ok {
			r.Inotify = append(r.Inotify, milliseconds(at.Sub(p.at)))
		}
	}
	stop.Store(lines == 0)
	for range last {
	}
	if err := <-written; err != nil {
		return nil, err
	}
	slices.Sort(r.Ban)
	slices.Sort(r.Inotify)
	return &r, nil
}

type probe struct {
	addr netip.Addr
	at   time.Time
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// changes records when inotify reported changes of the journal file.
type changes struct {
	mu sync.Mutex
	at []time.Time
}

func watchJournal(web bool) (*changes, error) {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return nil, err
	}
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	folder := strings.TrimSpace(string(id))
	if web {
		folder += ".web"
	}
	file := "/var/log/journal/" + folder + "/system.journal"
	if _, err := syscall.InotifyAddWatch(fd, file, syscall.IN_MODIFY); err != nil {
		return nil, fmt.Errorf("inotify %s: %w", file, err)
	}
	c := &changes{}
	go func() {
		buf := make([]byte, 4096)
		for {
			if n, err := syscall.Read(fd, buf); err != nil || n <= 0 {
				if errors.Is(err, syscall.EINTR) {
					continue
				}
				return
			}
			c.mu.Lock()
			c.at = append(c.at, time.Now())
			c.mu.Unlock()
		}
	}()
	return c, nil
}

// after returns the first change after t, for which it waits until t plus wait.
func (c *changes) after(t time.Time, wait time.Duration) (time.Time, bool) {
	for {
		c.mu.Lock()
		i, _ := slices.BinarySearchFunc(c.at, t, func(a, b time.Time) int { return a.Compare(b) })
		if i < len(c.at) {
			at := c.at[i]
			c.mu.Unlock()
			return at, true
		}
		c.mu.Unlock()
		if time.Since(t) > wait {
			return time.Time{}, false
		}
		time.Sleep(time.Millisecond)
	}
}
