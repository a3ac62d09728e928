package hub

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// ClusterPort is the port on which the servers of a hub speak with each other.
const ClusterPort = 6222

// clusterUser is the user name between servers.
const clusterUser = "hub"

// Server is a server of the hub.
type Server struct {
	Host string `json:"host"` // name or address
	Port int    `json:"port"`
}

// Name is the server's name among the servers, and fit for that of a file.
func (s Server) Name() string { return strings.ReplaceAll(s.Host, ":", "-") }

// URL is where hosts connect to.
func (s Server) URL() string { return ServerURL(s.Host, s.Port) }

// Limits for a host at the hub. A ban takes 400 bytes; the roster is the operator's.
const (
	maxConnections   = 4 // one, and others that the server has not yet noticed are gone
	maxSubscriptions = 64
	maxPayload       = 4096
)

// calls are those of JetStream's API that hosts need to read the streams; streamed ones have several answers. A call under its own
// name would be answered by the host's own account, so hosts import them as hub.NAME. Calls for consumers are not among them: a host's
// consumer could have the hub publish messages under any subject, and a call that creates a harmless one looks the same.
var calls = []struct {
	name     string
	streamed bool
}{
	{"STREAM.INFO.BANS", false},
	{"STREAM.MSG.GET.BANS", false}, // where a message's headers hide its number
	{"DIRECT.GET.BANS", true},
	{"DIRECT.GET.BANS.>", false},
	{"DIRECT.GET.ROSTER.>", false},
}

// Config is what the configuration of a hub's servers is made from.
type Config struct {
	Fleet    string
	Servers  []Server
	Password string              // for servers among themselves, besides certificates, which removed servers have, too
	Admin    string              // public key of the NATS user of the hub itself
	Hosts    map[string][]string // with the public keys of their NATS users

	Dir    string // of hub.crt, hub.key and ca.crt
	Store  string // folder of JetStream
	Listen string // address
	Old    bool   // without what nats-server before 2.10 does not know; only tests ask for it
}

// NATS returns the configuration of a server. Each host has an account of its own, which imports its own subjects only:
// permissions within one account would let a host write under another's name, by the reply subject of a request.
func (c *Config) NATS(s Server) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Written by bailiff fleet; changes are lost. For nats-server 2.10 and later.")
	p("server_name: %q", s.Name())
	p("listen: %q", net.JoinHostPort(c.Listen, strconv.Itoa(s.Port)))
	p("client_advertise: %q", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	p("max_payload: %d # the roster; hosts have less, see below", MaxRoster+16<<10)
	p("max_subscriptions: %d", maxSubscriptions)
	p("max_pending: 16MB")
	p(`write_deadline: "5s"`)
	p(`ping_interval: "10s"`)
	p("ping_max: 2")
	tls, sync := fmt.Sprintf("cert_file: %q, key_file: %q, ca_file: %q, timeout: 5", c.Dir+"/hub.crt", c.Dir+"/hub.key", c.Dir+"/ca.crt"), ""
	if !c.Old {
		tls, sync = tls+`, min_version: "1.3"`, `, sync_interval: "always"` // on the disk before it is acknowledged
	}
	p("tls { %s }", tls)
	p("jetstream { store_dir: %q, max_memory_store: 16MB, max_file_store: 1GB%s }", c.Store, sync)
	if len(c.Servers) > 1 {
		address := func(s Server) string { return net.JoinHostPort(s.Host, strconv.Itoa(ClusterPort)) }
		p("cluster {")
		p("  name: %q", c.Fleet)
		p("  listen: %q", net.JoinHostPort(c.Listen, strconv.Itoa(ClusterPort)))
		p("  advertise: %q", address(s))
		p("  authorization { user: %q, password: %q, timeout: 5 }", clusterUser, c.Password)
		p("  tls { %s, verify: true }", tls)
		p("  routes: [")
		for _, other := range c.Servers {
			if other != s {
				p("    %q", "nats://"+clusterUser+":"+c.Password+"@"+address(other))
			}
		}
		p("  ]\n}")
	}
	p("accounts {")
	p("  # All of the fleet's messages. What is exported here is imported by the accounts below only.")
	p("  FLEET {")
	p("    jetstream { max_file: 900MB, max_mem: 16MB, max_streams: 3, max_consumers: 64 }")
	p("    users: [ { nkey: %s } ]", c.Admin)
	p("    exports: [")
	p(`      { stream: "fleet.>" }`)
	p(`      { service: "ban.>" }`)
	for _, s := range []string{"count.*", "ask.*.*", "tell.*.*"} {
		p("      { service: %q }", s)
	}
	for _, call := range calls {
		p("      { service: %q%s }", "$JS.API."+call.name, map[bool]string{true: ", response_type: stream"}[call.streamed])
	}
	p("    ]\n  }")
	for _, name := range slices.Sorted(maps.Keys(c.Hosts)) {
		p("  %q {", "H_"+name)
		p("    limits { max_connections: %d, max_subscriptions: %d, max_payload: %d }", maxConnections, maxSubscriptions, maxPayload)
		p("    users: [")
		for _, k := range c.Hosts[name] {
			p("      { nkey: %s }", k)
		}
		p("    ]\n    imports: [")
		// What is for another host alone does not come here.
		for _, s := range []string{"ban.>", Subject, "count.*", "ask." + name + ".*", "tell." + name + ".*"} {
			p("      { stream: { account: FLEET, subject: %q } }", "fleet."+s)
		}
		p("      { service: { account: FLEET, subject: %q } }", "ban."+name+".>")
		for _, s := range []string{"count.", "ask.*.", "tell.*."} {
			p("      { service: { account: FLEET, subject: %q } }", s+name)
		}
		for _, call := range calls {
			p("      { service: { account: FLEET, subject: %q }, to: %q }", "$JS.API."+call.name, "hub."+call.name)
		}
		p("    ]\n  }")
	}
	p("}")
	return b.Bytes()
}
