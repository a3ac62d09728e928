package config

import (
	"time"

	"bailiff/policy/fleet"
)

// builtinDefaults returns the configuration without any file, except for the jails. It is the only place that defines defaults.
func builtinDefaults() *Config {
	const day = 24 * time.Hour
	return &Config{
		Defaults: Thresholds{
			FindTime: 10 * time.Minute, MaxRetry: 5, BanTime: 2 * day, Prefix4: 32, Prefix6: 64,
			// Four times max_retry over a day, or half as many accounts. Users' mistakes never reach that, since a success clears them. A
			// device with an old password does, but it repeats one account: see jail.Counter.
			Slow: Slow{FindTime: day, MaxRetry: 20},
			// Users who do not know how their account is spelled here try two or three names. Several people behind one address
			// mistype the passwords of several accounts, which therefore weigh no more than one.
			Weights: Weights{InvalidUser: 2, NewAccount: 0},
		},
		// Ten addresses within six hours are not a household, nor an office. Three failures, since ssh asks three times by itself
		// (NumberOfPasswordPrompts in ssh_config(5)): two slips and then the right password ban nobody.
		Accounts: Accounts{Addresses: 10, FindTime: 6 * time.Hour, MaxRetry: 3, TrustLoginsFor: 7 * day},
		// The ban of a network also affects others in it. The neighbors of an IPv4 address are strangers, or thousands of customers behind
		// a provider's few addresses, so bans of IPv4 networks are off by default. An IPv6 network up to a /48 belongs to a single customer
		// (RFC 6177), who could otherwise fail once from each /64 without a ban. The limit is a sixteenth of a /56, and nobody may have
		// logged in from it.
		Networks: Networks{FindTime: day, TrustLoginsFor: 7 * day, Net4: 0, Net6: Net6{Bits64: 16, Bits56: 16, Bits48: 64}},
		Escalate: Escalate{Factor: 2, Max: 28 * day, Forget: 30 * day},
		Allow: Allow{
			Self: true, Files: []string{"/etc/bailiff/allow.d/*.list"},
			// The groups whose members can become root on the usual distributions. Groups that only read (adm, bailiff) are not among
			// them: a monitoring login must not protect an attacker behind its address.
			Operators: Operators{Enabled: true, Groups: []string{"sudo", "wheel"}, Grace: 10 * time.Minute},
		},
		Firewall: Firewall{Backend: "auto", Block: "drop", KeepOnStop: true, Close: true, Method: "policy"},
		Fleet:    fleet.Defaults(),
		Limits:   Limits{MaxTracked: 1_000_000, MaxEvidence: 100},
		Report: Report{
			RetryFor: 5 * day, // as mail systems do
			Lookup:   Lookup{TimeLimit: 10 * time.Second, Cache: day, RDAP: true, Whois: true, WhoisServer: "whois.iana.org", Contacts: "abuse-contacts.abusix.zone"},
			Sendmail: Sendmail{Path: "/usr/sbin/sendmail", Args: []string{"-i", "-f", "SENDER", "--"}, TimeLimit: time.Minute},
		},
	}
}
