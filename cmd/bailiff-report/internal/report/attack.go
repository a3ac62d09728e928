package report

// Attack is how receivers of reports classify the attacks on a service.
type Attack struct {
	Port      uint16 // of the service (IANA's registry); 0: it has several, or none of its own
	AbuseIPDB []int  // its categories, sorted; none: the service uses UDP, which must not be reported there
	Blocklist string // blocklist.de's service, from the table of its DNS lists; "": it has none
	XARF      string // the type of X-ARF; "": the lines may be forged (UDP), or there is no type for what they show
	Service   string // for X-ARF
	Mixed     bool   // mail servers refuse mail for many reasons: only some lines are about logins
}

// Types of X-ARF.
const (
	LoginAttack = "login_attack"       // category connection: passwords are tried
	VulnScan    = "vulnerability_scan" // category connection: a web server is searched for vulnerabilities
)

// Categories of AbuseIPDB (https://www.abuseipdb.com/categories).
const (
	catFTP        = 5
	catEmailSpam  = 11
	catPortScan   = 14 // also of vulnerable services
	catHacking    = 15
	catBruteForce = 18
	catBadBot     = 19
	catWebApp     = 21
	catSSH        = 22 // only beside a more specific one
)

var (
	bruteForce = []int{catBruteForce}
	spam       = []int{catEmailSpam, catBruteForce}

	ssh      = Attack{22, []int{catBruteForce, catSSH}, "ssh", LoginAttack, "ssh", false}
	ftp      = Attack{21, []int{catFTP, catBruteForce}, "ftp", LoginAttack, "ftp", false}
	imap     = Attack{143, bruteForce, "imap", LoginAttack, "imap", false}
	smtp     = Attack{25, spam, "mail", LoginAttack, "smtp", true}
	mysql    = Attack{3306, bruteForce, "mysql", LoginAttack, "mysql", false}
	webLogin = Attack{0, []int{catBruteForce, catWebApp}, "bruteforcelogin", LoginAttack, "http", false}
	webScan  = Attack{0, []int{catWebApp}, "badbot", VulnScan, "http", false}
)

// Attacks are those on the services of the built-in filters.
var Attacks = map[string]Attack{
	"apache-auth":        webLogin,
	"apache-badbots":     {0, []int{catBadBot}, "badbot", VulnScan, "http", false},
	"apache-botsearch":   webScan,
	"apache-modsecurity": webScan,
	"apache-nohome":      webScan,
	"apache-noscript":    webScan,
	"apache-overflows":   {0, []int{catHacking, catWebApp}, "badbot", VulnScan, "http", false},
	"apache-shellshock":  {0, []int{catHacking, catWebApp}, "rfi-attack", VulnScan, "http", false},
	"asterisk":           {Blocklist: "asterisk"},
	"caddy-access":       webScan,
	"cockpit":            webLogin,
	"courier-auth":       imap,
	"courier-smtp":       smtp,
	"cyrus-imap":         imap,
	"dovecot":            imap,
	"dropbear":           ssh,
	"exim":               smtp,
	"gitlab":             webLogin,
	"grafana":            webLogin,
	"haproxy-http-auth":  webLogin,
	"mariadb-auth":       mysql,
	"monit":              webLogin,
	"murmur":             {64738, bruteForce, "", LoginAttack, "mumble", false}, // its logins go over TLS
	"mysqld-auth":        mysql,
	"named-refused":      {},
	"nginx-bad-request":  webScan,
	"nginx-botsearch":    webScan,
	"nginx-forbidden":    webScan,
	"nginx-http-auth":    webLogin,
	"nginx-limit-req":    {AbuseIPDB: []int{catBadBot}, Blocklist: "badbot"}, // excessive requests
	"nsd":                {},
	"opensmtpd":          smtp,
	"openvpn":            {},
	"pam-generic":        {0, bruteForce, "", LoginAttack, "login", false},
	"postfix":            smtp,
	"proftpd":            ftp,
	"proxmox":            webLogin,
	"pure-ftpd":          ftp,
	"roundcube":          webLogin,
	"saslauthd":          {0, bruteForce, "sasl", LoginAttack, "sasl", false},
	"sendmail-auth":      {25, spam, "sasl", LoginAttack, "smtp", false},
	"sendmail-reject":    {AbuseIPDB: []int{catEmailSpam}, Blocklist: "mail"},
	"sieve":              {4190, bruteForce, "imap", LoginAttack, "sieve", false},
	"slapd":              {389, bruteForce, "", LoginAttack, "ldap", false},
	"squid":              {AbuseIPDB: []int{catPortScan}}, // searches for open proxies
	"sshd":               ssh,
	"traefik-access":     webScan,
	"traefik-auth":       webLogin,
	"vaultwarden":        webLogin,
	"vsftpd":             ftp,
	"web-access":         webScan,
	"webmin":             {0, []int{catBruteForce, catWebApp}, "webmin", LoginAttack, "http", false},
	"xrdp":               {3389, bruteForce, "", LoginAttack, "rdp", false},
	"znc":                {0, bruteForce, "", LoginAttack, "irc", false},
}
