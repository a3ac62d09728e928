package fleet

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"bailiff/units/hub"
)

// hubDir is where a server keeps its files.
const hubDir = "/etc/bailiff-hub"

// clusterPort is the port on which the servers of a hub speak with each other.
const clusterPort = 6222

// What a host may use of the hub. A ban takes 400 bytes; the roster is the operator's.
const (
	maxConnections   = 4 // one, and others that the server has not yet noticed are gone
	maxSubscriptions = 64
	maxPayload       = 4096
)

// calls are those of JetStream's API that hosts need to read the streams; streamed ones have several answers. A call under its own
// name would be answered by the host's own account, so hosts import them as hub.NAME. The consumers are for servers before 2.11.
var calls = []struct {
	name     string
	streamed bool
}{
	{"STREAM.INFO.BANS", false},
	{"DIRECT.GET.BANS", true},
	{"DIRECT.GET.BANS.>", false},
	{"DIRECT.GET.ROSTER.>", false},
	{"CONSUMER.CREATE.BANS.>", false},
	{"CONSUMER.INFO.BANS.>", false},
	{"CONSUMER.DELETE.BANS.>", false},
	{"CONSUMER.MSG.NEXT.BANS.>", true},
}

// natsConf returns the configuration of a server. Each host has an account of its own, which imports its own subjects only:
// permissions within one account would let a host write under another's name, by the reply subject of a request.
func (f *Folder) natsConf(s Server) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Written by bailiff fleet; changes are lost. For nats-server 2.10 and later.")
	p("server_name: %q", s.Name())
	p(`listen: "0.0.0.0:%d"`, s.Port)
	p("client_advertise: %q", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	p("max_payload: %d # the roster; hosts have less, see below", hub.MaxRoster+16<<10)
	p("max_subscriptions: %d", maxSubscriptions)
	p("max_pending: 16MB")
	p(`write_deadline: "5s"`)
	p(`ping_interval: "10s"`)
	p("ping_max: 2")
	tls := fmt.Sprintf("cert_file: %q, key_file: %q, ca_file: %q, timeout: 5", hubDir+"/hub.crt", hubDir+"/hub.key", hubDir+"/ca.crt")
	p("tls { %s, min_version: \"1.3\" }", tls)
	p(`jetstream { store_dir: "/var/lib/bailiff-hub", max_memory_store: 16MB, max_file_store: 1GB, sync_interval: "always" }`)
	if len(f.Servers) > 1 {
		address := func(s Server) string { return net.JoinHostPort(s.Host, strconv.Itoa(clusterPort)) }
		p("cluster {")
		p("  name: %q", f.Fleet)
		p(`  listen: "0.0.0.0:%d"`, clusterPort)
		p("  advertise: %q", address(s))
		p("  tls { %s, min_version: \"1.3\", verify: true }", tls)
		p("  routes: [")
		for _, other := range f.Servers {
			if other != s {
				p("    %q", "nats://"+address(other))
			}
		}
		p("  ]\n}")
	}
	p("accounts {")
	p("  # All of the fleet's messages. What is exported here is imported by the accounts below only.")
	p("  FLEET {")
	p("    jetstream { max_file: 900MB, max_mem: 16MB, max_streams: 3, max_consumers: 64 }")
	p("    users: [ { nkey: %s } ]", f.admin)
	p("    exports: [")
	p(`      { stream: "fleet.>" }`)
	p(`      { service: "ban.>" }`)
	for _, s := range []string{"count.*", "ask.*.*", "tell.*.*"} {
		p("      { service: %q }", s)
	}
	for _, c := range calls {
		p("      { service: %q%s }", "$JS.API."+c.name, map[bool]string{true: ", response_type: stream"}[c.streamed])
	}
	p("    ]\n  }")
	for _, name := range slices.Sorted(maps.Keys(f.Hosts)) {
		p("  %q {", "H_"+name)
		p("    limits { max_connections: %d, max_subscriptions: %d, max_payload: %d }", maxConnections, maxSubscriptions, maxPayload)
		p("    users: [")
		for _, k := range f.Hosts[name].NKeys {
			p("      { nkey: %s }", k)
		}
		p("    ]\n    imports: [")
		// What is for another host alone does not come here.
		for _, s := range []string{"ban.>", hub.Subject, "count.*", "ask." + name + ".*", "tell." + name + ".*"} {
			p("      { stream: { account: FLEET, subject: %q } }", "fleet."+s)
		}
		p("      { service: { account: FLEET, subject: %q } }", "ban."+name+".>")
		for _, s := range []string{"count.", "ask.*.", "tell.*."} {
			p("      { service: { account: FLEET, subject: %q } }", s+name)
		}
		for _, c := range calls {
			p("      { service: { account: FLEET, subject: %q }, to: %q }", "$JS.API."+c.name, "hub."+c.name)
		}
		p("    ]\n  }")
	}
	p("}")
	return b.Bytes()
}

// dropIn makes nats-server.service a server of the hub. The stream and the roster are made at each start and reload; without
// the other servers of a hub that is not yet possible, which is no reason not to start.
const dropIn = `# Written by bailiff fleet: this server is a hub of bailiff-fleet(7).
[Unit]
StartLimitIntervalSec=0

[Service]
ExecStart=
ExecStart=nats-server -c ` + hubDir + `/nats-server.conf
ExecStartPost=-bailiff-fleet stream --wait 10s --admin ` + hubDir + `/admin.json
ExecReload=-bailiff-fleet stream --wait 10s --admin ` + hubDir + `/admin.json
Restart=always
RestartSec=100ms
LimitNOFILE=65536
StateDirectory=bailiff-hub
StateDirectoryMode=0700
UMask=0077
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
`
