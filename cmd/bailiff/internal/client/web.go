package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"syscall"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/units/control"
)

// webSocket is where bailiff-web.socket listens for members of group bailiff.
const webSocket = "/run/bailiff/web"

// webLink is what `bailiff web --json` prints. bailiff(1) documents its keys, which do not change.
type webLink struct {
	URL string `json:"url"` // with the token, which grants what group bailiff may read
}

// Web is `bailiff web`.
func Web() *cli.Command {
	return cli.New("web", "", "print a link to the status page").WithJSON().WithSocket(webSocket).Does(func(e *cli.Env, _ []string) error {
		link, err := askLink(e.Ctx, e.Socket)
		if err != nil {
			return err
		}
		return e.Print(link, func() {
			e.Printf("%s\n", link.URL)
			if e.OutTTY && os.Getenv("SSH_CONNECTION") != "" {
				e.Notef("on your own machine first: ssh -L 8737:127.0.0.1:8737 THIS-HOST")
			}
		})
	})
}

// askLink asks bailiff-web for its token, over the socket that only the group may use.
func askLink(ctx context.Context, socket string) (*webLink, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/token", nil)
	if err != nil {
		return nil, err
	}
	res, err := control.Send(socket, req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, cli.WithHint(errors.New("the status page is off"), "systemctl enable --now bailiff-web.socket")
	case errors.Is(err, fs.ErrPermission):
		return nil, cli.WithHint(fmt.Errorf("no permission to use %s", socket), "use sudo, or have an administrator add you to group bailiff")
	case err != nil:
		return nil, err
	}
	defer res.Body.Close()
	var answer struct {
		control.Error
		Token   string  `json:"token"`
		Address *string `json:"address"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, cli.WithHint(&answer.Error, "%s", answer.Hint)
	case answer.Address == nil || answer.Token == "":
		return nil, cli.WithHint(errors.New("the status page has no TCP socket"), "systemctl status bailiff-web.socket; a web server may use %s", socket)
	}
	return &webLink{"http://" + *answer.Address + "/#" + answer.Token}, nil
}
