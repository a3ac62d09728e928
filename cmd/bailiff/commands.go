package main

import (
	"bailiff/cmd/bailiff/internal/check"
	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/client"
	"bailiff/cmd/bailiff/internal/fetch"
	"bailiff/cmd/bailiff/internal/filters"
	"bailiff/cmd/bailiff/internal/fleet"
	"bailiff/cmd/bailiff/internal/importer"
	"bailiff/cmd/bailiff/internal/lists"
	"bailiff/cmd/bailiff/internal/replay"
	"bailiff/cmd/bailiff/internal/reports"
	"bailiff/cmd/bailiff/internal/stats"
	"bailiff/cmd/bailiff/internal/top"
	"bailiff/units/version"
)

// commands is the one list of commands. Usage, -h, the completions in units/completion and the synopsis and options in
// units/man/bailiff.1.scd are made from it.
//
//go:generate go test -run ^TestGenerated$ . -update
func commands() []*cli.Command {
	return []*cli.Command{
		client.Status(reports.StatusLine),
		client.Bans(),
		client.Ban(),
		client.Unban(),
		client.Allow(fetch.Allow()),
		client.Why(),
		client.Firewall(),
		client.Fleet(fleet.Commands()...),
		lists.Command(),
		reports.Command(),
		check.Command(),
		filters.Filter(),
		client.Config(),
		client.Reload(),
		importer.Command(),
		replay.Command(),
		top.Command(),
		client.Web(),
		stats.Command(),
		client.Metrics(),
		filters.Match(),
		versionCommand(),
	}
}

func versionCommand() *cli.Command {
	return cli.New("version", "", "print the version").WithJSON().Does(func(e *cli.Env, _ []string) error {
		return e.Print(version.Read(), func() { e.Printf("bailiff %s\n", version.String()) })
	})
}
