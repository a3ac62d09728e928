package blocklist

import (
	"maps"
	"slices"
	"time"

	"bailiff/policy/allow"
)

// catalogue holds the lists that need no URL in the configuration. A list is used only if the configuration names it. bailiff.yaml(5)
// summarizes their terms of use. How often each is fetched follows what its publisher says: Spamhaus wants an hour between two downloads,
// and calls a day enough; blocklist.de's hold 48 hours; a free account of AbuseIPDB may ask five times a day; CINS' is made each hour,
// FireHOL's more often.
var catalogue = map[string]List{
	"spamhaus-drop": {
		Published: allow.Published{
			URLs:   []string{"https://www.spamhaus.org/drop/drop_v4.json", "https://www.spamhaus.org/drop/drop_v6.json"},
			Format: FormatLines, Pointers: []string{"/cidr"}, Interval: 12 * time.Hour,
		},
	},
	"abuseipdb": {
		Published: allow.Published{
			URLs: []string{"https://api.abuseipdb.com/api/v2/blacklist?confidenceMinimum=100&limit=500000"}, Interval: 12 * time.Hour,
		},
		Credential: "bailiff_abuseipdb", KeyHeader: "Key", Accept: "text/plain",
	},
	"cins": plain("https://cinsscore.com/list/ci-badguys.txt", 6*time.Hour),

	"firehol-level1": firehol("level1"),
	"firehol-level2": firehol("level2"),
	"firehol-level3": firehol("level3"),
	"firehol-level4": firehol("level4"),

	"blocklist-de":        blocklistDe("all"),
	"blocklist-de-ssh":    blocklistDe("ssh"),
	"blocklist-de-mail":   blocklistDe("mail"),
	"blocklist-de-imap":   blocklistDe("imap"),
	"blocklist-de-apache": blocklistDe("apache"),
	"blocklist-de-ftp":    blocklistDe("ftp"),
	"blocklist-de-sip":    blocklistDe("sip"),
	"blocklist-de-bots":   blocklistDe("bots"),
	"blocklist-de-logins": blocklistDe("bruteforcelogin"),
	"blocklist-de-strong": blocklistDe("strongips"),
}

func plain(url string, interval time.Duration) List {
	return List{Published: allow.Published{URLs: []string{url}, Interval: interval}}
}

func firehol(level string) List {
	return plain("https://iplists.firehol.org/files/firehol_"+level+".netset", 6*time.Hour)
}

func blocklistDe(service string) List {
	return plain("https://lists.blocklist.de/lists/"+service+".txt", 6*time.Hour)
}

// Catalogue returns the names of the lists that need no URL, sorted.
func Catalogue() []string { return slices.Sorted(maps.Keys(catalogue)) }
