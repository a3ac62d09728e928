package abuseipdb

import "slices"

// Categories of AbuseIPDB.
const (
	ftp        = 5
	emailSpam  = 11
	portScan   = 14 // also of vulnerable services
	hacking    = 15
	bruteForce = 18
	badBot     = 19
	webApp     = 21
	ssh        = 22 // only beside a more specific one
)

// known are the categories of attacks on the services of the built-in filters. Services with none use UDP, which must not be reported:
// "TCP connections can only be reported if they complete the three-way handshake. UDP connections cannot be reported."
var known = map[string][]int{
	"apache-auth":        {bruteForce, webApp},
	"apache-badbots":     {badBot},
	"apache-botsearch":   {webApp},
	"apache-modsecurity": {webApp},
	"apache-nohome":      {webApp},
	"apache-noscript":    {webApp},
	"apache-overflows":   {hacking, webApp},
	"apache-shellshock":  {hacking, webApp},
	"asterisk":           {},
	"cockpit":            {bruteForce, webApp},
	"courier-auth":       {bruteForce},
	"courier-smtp":       {emailSpam, bruteForce},
	"cyrus-imap":         {bruteForce},
	"dovecot":            {bruteForce},
	"dropbear":           {bruteForce, ssh},
	"exim":               {emailSpam, bruteForce},
	"gitlab":             {bruteForce, webApp},
	"grafana":            {bruteForce, webApp},
	"haproxy-http-auth":  {bruteForce, webApp},
	"mariadb-auth":       {bruteForce},
	"monit":              {bruteForce, webApp},
	"murmur":             {bruteForce}, // its logins go over TLS
	"mysqld-auth":        {bruteForce},
	"named-refused":      {},
	"nginx-bad-request":  {webApp},
	"nginx-botsearch":    {webApp},
	"nginx-forbidden":    {webApp},
	"nginx-http-auth":    {bruteForce, webApp},
	"nginx-limit-req":    {badBot}, // excessive requests
	"nsd":                {},
	"opensmtpd":          {emailSpam, bruteForce},
	"openvpn":            {},
	"pam-generic":        {bruteForce},
	"postfix":            {emailSpam, bruteForce},
	"proftpd":            {ftp, bruteForce},
	"proxmox":            {bruteForce, webApp},
	"pure-ftpd":          {ftp, bruteForce},
	"roundcube":          {bruteForce, webApp},
	"saslauthd":          {bruteForce},
	"sendmail-auth":      {emailSpam, bruteForce},
	"sendmail-reject":    {emailSpam},
	"sieve":              {bruteForce},
	"slapd":              {bruteForce},
	"squid":              {portScan}, // searches for open proxies
	"sshd":               {bruteForce, ssh},
	"traefik-auth":       {bruteForce, webApp},
	"vaultwarden":        {bruteForce, webApp},
	"vsftpd":             {ftp, bruteForce},
	"webmin":             {bruteForce, webApp},
	"xrdp":               {bruteForce},
	"znc":                {bruteForce},
}

// categoriesOf returns the categories of attacks on a jail, sorted: as configured for the jail or its filter, or those of a built-in
// filter. It returns false for other filters, since a wrong accusation is worse than none, and an empty list for attacks that must not
// be reported.
func categoriesOf(jail, filter string, own map[string][]int) ([]int, bool) {
	c, ok := own[jail]
	if !ok {
		c, ok = own[filter]
	}
	if !ok {
		c, ok = known[filter]
	}
	return sorted(slices.Clone(c)), ok
}

// maxCategories is the largest number in one report.
const maxCategories = 30

func sorted(c []int) []int {
	slices.Sort(c)
	c = slices.Compact(c)
	return c[:min(len(c), maxCategories)]
}
