package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/units/manager"
)

// ErrNotRunning means that nobody listens on the control socket, neither the daemon nor systemd for it.
var ErrNotRunning = errors.New("the daemon is not running")

// waitTime bounds a call whose context has no deadline. A call during a restart waits for the new daemon: as long as systemd
// gives a service to start (DefaultTimeoutStartSec), and then callTime.
const waitTime = 90*time.Second + callTime

// maxAnswer bounds an answer, in bytes: maxLimit bans are 3 MB.
const maxAnswer = 64 << 20

// Client calls the daemon. Its errors are *Error; errors.Is(err, ErrNotRunning) means that there is no daemon.
type Client struct {
	path string
	unit string // of the server

	// stopped asks systemd for the state of a unit that is neither running nor starting; nil: reading may start the daemon.
	stopped func(ctx context.Context, unit string) (state string, err error)
}

// Dial returns a client of the socket at path, DefaultPath if empty. Each call makes its own connection.
func Dial(path string) *Client {
	path = cmp.Or(path, DefaultPath)
	c := &Client{path: path, unit: "bailiff"}
	if path == DefaultPath {
		c.stopped = manager.Stopped
	}
	return c
}

// checkStarted keeps a read from starting a stopped daemon, as connecting to systemd's socket would. If systemd cannot be asked, the
// connection decides.
func (c *Client) checkStarted(ctx context.Context) error {
	if c.stopped == nil {
		return nil
	}
	state, err := c.stopped(ctx, c.unit+".service")
	if err != nil || state == "" {
		return nil
	}
	e := &Error{Status: http.StatusServiceUnavailable, Message: ErrNotRunning.Error() + ": " + c.unit + ".service is stopped", Hint: "systemctl start " + c.unit + ".service", cause: ErrNotRunning}
	if state == "failed" {
		e.Message = ErrNotRunning.Error() + ": " + c.unit + ".service has failed"
		e.Hint = fmt.Sprintf("systemctl status %[1]s shows the reason, bailiff check the errors in the configuration; then systemctl start %[1]s.service", c.unit)
	}
	return e
}

// Status returns the state of the daemon.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return get[Status](ctx, c, "/v1/status", nil)
}

// Bans returns a page of bans.
func (c *Client) Bans(ctx context.Context, ask BanQuery) (*BanList, error) {
	q := query("jail", ask.Jail, "prefix", ask.Prefix, "after", ask.After, "search", ask.Search, "origin", ask.Origin, "reason", ask.Reason, "country", ask.Country)
	if ask.Limit != 0 {
		q.Set("limit", strconv.Itoa(ask.Limit))
	}
	for name, on := range map[string]bool{"observed": ask.Observed, "facets": ask.Facets} {
		if on {
			q.Set(name, "true")
		}
	}
	if ask.Newest {
		q.Set("sort", "newest")
	}
	return get[BanList](ctx, c, "/v1/bans", q)
}

// Ban bans by hand and returns the bans.
func (c *Client) Ban(ctx context.Context, req BanRequest) ([]Ban, error) {
	return list[Ban](ctx, c, http.MethodPost, "/v1/bans", nil, req)
}

// Unban lifts the bans of a prefix, or all bans, in one jail or, if jail is empty, in every jail.
func (c *Client) Unban(ctx context.Context, prefix, jail string, all bool) (*Removed, error) {
	q := query("prefix", prefix, "jail", jail)
	if all {
		q.Set("all", "true")
	}
	return do[Removed](ctx, c, http.MethodDelete, "/v1/bans", q, nil)
}

// Allowed returns the allow list.
func (c *Client) Allowed(ctx context.Context) ([]AllowEntry, error) {
	return list[AllowEntry](ctx, c, http.MethodGet, "/v1/allow", nil, nil)
}

// AllowWhy explains which entries allow an address.
func (c *Client) AllowWhy(ctx context.Context, address string) (*AllowWhy, error) {
	return get[AllowWhy](ctx, c, "/v1/allow", query("address", address))
}

// Allow adds an entry to the allow list.
func (c *Client) Allow(ctx context.Context, req AllowRequest) (*AllowResult, error) {
	return do[AllowResult](ctx, c, http.MethodPost, "/v1/allow", nil, req)
}

// Disallow removes an entry that was added at run time.
func (c *Client) Disallow(ctx context.Context, prefix string) (*Removed, error) {
	return do[Removed](ctx, c, http.MethodDelete, "/v1/allow", query("prefix", prefix), nil)
}

// Why explains why an address is banned, allowed or counted.
func (c *Client) Why(ctx context.Context, address string) (*Why, error) {
	return get[Why](ctx, c, "/v1/why", query("address", address))
}

// Firewall compares what the firewall holds with what it should hold.
func (c *Client) Firewall(ctx context.Context) (*Firewall, error) {
	return get[Firewall](ctx, c, "/v1/firewall", nil)
}

// RepairFirewall repairs the firewall; force also removes what others made in the place of the daemon's objects.
func (c *Client) RepairFirewall(ctx context.Context, force bool) (*FirewallRepair, error) {
	q := url.Values{}
	if force {
		q.Set("force", "true")
	}
	return do[FirewallRepair](ctx, c, http.MethodPost, "/v1/firewall/repair", q, nil)
}

// Config returns the configuration in use, as YAML.
func (c *Client) Config(ctx context.Context) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, "/v1/config", nil, nil)
}

// Reload loads the configuration again and returns when it is in use or was refused.
func (c *Client) Reload(ctx context.Context) (*Reloaded, error) {
	return do[Reloaded](ctx, c, http.MethodPost, "/v1/reload", nil, nil)
}

func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (*T, error) {
	return do[T](ctx, c, http.MethodGet, path, q, nil)
}

func list[T any](ctx context.Context, c *Client, method, path string, q url.Values, req any) ([]T, error) {
	v, err := do[[]T](ctx, c, method, path, q, req)
	if err != nil {
		return nil, err
	}
	return *v, nil
}

func do[T any](ctx context.Context, c *Client, method, path string, q url.Values, req any) (*T, error) {
	b, err := c.ask(ctx, method, path, q, req)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, &Error{Status: http.StatusBadGateway, Message: fmt.Sprintf("the daemon's answer to %s %s cannot be read: %v", method, path, err),
			Hint: "the daemon may be of another version: systemctl restart bailiff", cause: err}
	}
	return v, nil
}

// ask makes one call. If the daemon dies during a GET, the call is repeated, since systemd restarts the daemon; other calls are not.
func (c *Client) ask(ctx context.Context, method, path string, q url.Values, req any) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, waitTime)
		defer cancel()
	}
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return nil, &Error{Status: http.StatusBadRequest, Message: err.Error(), cause: err}
		}
	}
	if method == http.MethodGet {
		if err := c.checkStarted(ctx); err != nil {
			return nil, err
		}
	}
	b, err := c.once(ctx, method, path, q, body)
	if err != nil && method == http.MethodGet && cutOff(err) {
		b, err = c.once(ctx, method, path, q, body)
	}
	if err != nil {
		return nil, c.explain(err, method)
	}
	return b, nil
}

func (c *Client) once(ctx context.Context, method, path string, q url.Values, body []byte) ([]byte, error) {
	var header http.Header
	if len(body) > 0 {
		header = http.Header{"Content-Type": {"application/json"}}
	}
	res, err := c.send(ctx, method, path, q.Encode(), header, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return c.whole(res)
}

func (c *Client) send(ctx context.Context, method, path, rawQuery string, header http.Header, body []byte) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "bailiff", Path: path, RawQuery: rawQuery}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	return Send(c.path, req)
}

// whole reads an answer.
func (c *Client) whole(res *http.Response) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("answer of more than %d bytes", maxAnswer)
	}
	if res.StatusCode == http.StatusOK {
		return b, nil
	}
	e := &Error{Status: res.StatusCode}
	if json.Unmarshal(b, e) != nil || e.Message == "" {
		e.Message, e.Hint = fmt.Sprintf("the daemon answers %s", res.Status), "something else may be listening on "+c.path
	}
	return nil, e
}

// cutOff reports whether the other side closed the connection during a call.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// explain turns an error into an *Error with a hint.
func (c *Client) explain(err error, method string) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return &Error{Status: http.StatusServiceUnavailable, Message: ErrNotRunning.Error() + ": nobody listens on " + c.path,
			Hint: fmt.Sprintf("systemctl start %[1]s.service; systemctl status %[1]s shows why it stopped", c.unit), cause: ErrNotRunning}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Status: http.StatusForbidden, Message: "no permission to use " + c.path,
			Hint: "use sudo, or have an administrator add you to group bailiff", cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: http.StatusGatewayTimeout, Message: "the daemon did not answer in time", Hint: "see systemctl status " + c.unit, cause: err}
	case errors.Is(err, context.Canceled):
		return &Error{Status: http.StatusRequestTimeout, Message: "cancelled", cause: err}
	case cutOff(err):
		hint := "see systemctl status " + c.unit
		if method != http.MethodGet {
			hint = "the call may or may not have been carried out: see bailiff status; systemctl status bailiff shows why it stopped"
		}
		return &Error{Status: http.StatusBadGateway, Message: "the daemon stopped in the middle of the call", Hint: hint, cause: err}
	}
	return &Error{Status: http.StatusBadGateway, Message: c.path + ": " + err.Error(), cause: err}
}
