package metrics

// Metrics of the daemon.
var (
	Up = &Family{Name: "bailiff_up", Type: Gauge,
		Help: "1 while bailiffd answers; 0 in a textfile that was written while it was stopped."}
	BuildInfo = &Family{Name: "bailiff_build_info", Type: Info, Labels: []string{"version"},
		Help: "Version of bailiffd."}
	StartTime = &Family{Name: "bailiff_start_time_seconds", Type: Gauge, Unit: "seconds",
		Help: "When bailiffd was started, in seconds since 1970."}
	CPU = &Family{Name: "bailiff_cpu_seconds_total", Type: Counter, Unit: "seconds",
		Help: "Processor time that bailiffd has used."}
	Memory = &Family{Name: "bailiff_memory_bytes", Type: Gauge, Unit: "bytes",
		Help: "Anonymous memory of bailiffd; mapped journal files do not count."}

	ActiveBans = &Family{Name: "bailiff_active_bans", Type: Gauge, Labels: []string{"jail", "family"},
		Help: "Bans in effect, of ipv4 and ipv6 prefixes."}
	Bans = &Family{Name: "bailiff_bans_total", Type: Counter, Labels: []string{"jail", "reason"},
		Help: "Bans since the start, by what led to them: failures, slow, account, network, or manual."}
	ObservedBans = &Family{Name: "bailiff_observed_bans_total", Type: Counter, Labels: []string{"jail", "reason"},
		Help: "Bans that jails with observe: true would have made."}
	Unbans = &Family{Name: "bailiff_unbans_total", Type: Counter, Labels: []string{"reason"},
		Help: "Bans that ended: expired, manual, allowed, or disabled (the jail was)."}
	Latency = &Family{Name: "bailiff_ban_latency_seconds", Type: Histogram, Unit: "seconds",
		Help: "Time from the journal entry or command that led to a ban until the firewall held it. What was missed while bailiffd was down does not count."}

	Failures = &Family{Name: "bailiff_failures_total", Type: Counter, Labels: []string{"jail"},
		Help: "Failed attempts that counted, since the start."}
	PatternFailures = &Family{Name: "bailiff_pattern_failures_total", Type: Counter, Labels: []string{"jail", "pattern"},
		Help: "The same by pattern of the filter, with metrics.patterns; at most 500 pairs, the rest as pattern other."}
	AllowedFailures = &Family{Name: "bailiff_allowed_failures_total", Type: Counter,
		Help: "Failed attempts that did not count because their address is allowed."}
	Doubled = &Family{Name: "bailiff_doubled_failures_total", Type: Counter,
		Help: "Failed attempts that weighed double, because their address is in a list with mode double."}
	Unmatched = &Family{Name: "bailiff_unmatched_entries_total", Type: Counter, Labels: []string{"jail"},
		Help: "Trusted entries that fit no pattern of the jail's filter. Most lines of a service do not concern it."}
	Refused = &Family{Name: "bailiff_refused_entries_total", Type: Counter, Labels: []string{"jail"},
		Help: "Entries that fit a pattern but came from a source that is not trusted."}
	Tracked = &Family{Name: "bailiff_tracked_prefixes", Type: Gauge,
		Help: "Prefixes with failures in their window."}
	TrackedLimit = &Family{Name: "bailiff_tracked_prefixes_limit", Type: Gauge,
		Help: "Limit of tracked prefixes: limits.max_tracked."}
	Widened = &Family{Name: "bailiff_widened_failures_total", Type: Counter,
		Help: "Failures counted on a wider prefix because the limit was reached."}

	JournalEntries = &Family{Name: "bailiff_journal_entries_total", Type: Counter,
		Help: "Journal entries read."}
	JournalLag = &Family{Name: "bailiff_journal_lag_seconds", Type: Gauge, Unit: "seconds",
		Help: "Age of the entry read last, while more are waiting; else 0."}
	JournalSuppressed = &Family{Name: "bailiff_journal_suppressed_total", Type: Counter,
		Help: "Messages of watched units that journald suppressed by its rate limit."}
	JournalErrors = &Family{Name: "bailiff_journal_errors_total", Type: Counter,
		Help: "Times that the journal could not be read."}
	JournalFiles = &Family{Name: "bailiff_journal_files", Type: Gauge,
		Help: "Journal files that are followed."}
	JournalFaulty = &Family{Name: "bailiff_journal_file_problems", Type: Gauge,
		Help: "Current problems with journal files: damaged, unreadable, or deleted before they were read."}

	FirewallInfo = &Family{Name: "bailiff_firewall_info", Type: Info, Labels: []string{"backend"},
		Help: "Firewall backend in use."}
	FirewallOK = &Family{Name: "bailiff_firewall_ok", Type: Gauge,
		Help: "1 if the firewall held all bans when it was checked last."}
	FirewallMissing = &Family{Name: "bailiff_firewall_missing_bans", Type: Gauge,
		Help: "Bans that were decided and that the firewall has not confirmed yet."}
	FirewallRepairs = &Family{Name: "bailiff_firewall_repairs_total", Type: Counter,
		Help: "Times that rules or sets had to be rebuilt."}
	FirewallErrors = &Family{Name: "bailiff_firewall_errors_total", Type: Counter,
		Help: "Changes of the firewall that failed and were tried again."}
	DroppedPackets = &Family{Name: "bailiff_firewall_dropped_packets_total", Type: Counter, Labels: []string{"set"},
		Help: "Packets of banned addresses that the rules of a set dropped. firewalld does not count."}
	DroppedBytes = &Family{Name: "bailiff_firewall_dropped_bytes_total", Type: Counter, Unit: "bytes", Labels: []string{"set"},
		Help: "Bytes of these packets."}

	Problems = &Family{Name: "bailiff_problems", Type: Gauge, Labels: []string{"kind"},
		Help: "What bailiff status lists as problems, by source."}
	ConfigOK = &Family{Name: "bailiff_config_last_reload_successful", Type: Gauge,
		Help: "1 unless the last reload was rejected."}
	ConfigTime = &Family{Name: "bailiff_config_last_reload_success_timestamp_seconds", Type: Gauge, Unit: "seconds",
		Help: "When the configuration in use was loaded, in seconds since 1970."}
	ListTime = &Family{Name: "bailiff_allow_list_success_timestamp_seconds", Type: Gauge, Unit: "seconds", Labels: []string{"list"},
		Help: "When the source of a published allow list last confirmed it, in seconds since 1970; 0: never."}
	ListEntries = &Family{Name: "bailiff_allow_list_entries", Type: Gauge, Labels: []string{"list"},
		Help: "Entries of a published allow list in effect."}
	BlockListTime = &Family{Name: "bailiff_block_list_success_timestamp_seconds", Type: Gauge, Unit: "seconds", Labels: []string{"list"},
		Help: "When the source of a published block list last confirmed it, in seconds since 1970; 0: never."}
	BlockListEntries = &Family{Name: "bailiff_block_list_entries", Type: Gauge, Labels: []string{"list"},
		Help: "Entries of a published block list in effect."}
	BlockListPackets = &Family{Name: "bailiff_block_list_packets_total", Type: Counter, Labels: []string{"list", "mode"},
		Help: "Packets that a published block list has stopped; with mode log, that it has counted."}
	BlockListBytes = &Family{Name: "bailiff_block_list_bytes_total", Type: Counter, Unit: "bytes", Labels: []string{"list", "mode"},
		Help: "Bytes of these packets."}
	FleetBans = &Family{Name: "bailiff_fleet_bans", Type: Gauge, Labels: []string{"peer"},
		Help: "Bans of another host, with fleet.hosts; at most 500 hosts, the rest as peer (other)."}
	FleetTime = &Family{Name: "bailiff_fleet_latest_timestamp_seconds", Type: Gauge, Unit: "seconds", Labels: []string{"peer"},
		Help: "When the newest ban of another host was made, in seconds since 1970; 0: none is known."}
	FleetRefused = &Family{Name: "bailiff_fleet_refused_bans_total", Type: Counter, Labels: []string{"peer"},
		Help: "Bans of another host that were refused: limits, allowed addresses, or a wrong form."}
	FleetTogether = &Family{Name: "bailiff_fleet_together_bans", Type: Gauge,
		Help: "Prefixes that are banned for what hosts have counted together, with fleet.together."}
	FleetPrevented = &Family{Name: "bailiff_fleet_together_prevented_bans_total", Type: Counter,
		Help: "Bans for what hosts have counted together, prevented because one of them knew the prefix as good."}
	AuditWaiting = &Family{Name: "bailiff_audit_entries_waiting", Type: Gauge,
		Help: "Audit entries that wait for journald."}
	AuditLost = &Family{Name: "bailiff_audit_entries_lost_total", Type: Counter,
		Help: "Audit entries that could not be written."}
)

// Metrics of bailiff-report.
var (
	ReportQueue = &Family{Name: "bailiff_report_queue", Type: Gauge, Labels: []string{"destination"},
		Help: "Reports that wait, those of a digest to come included."}
	ReportOldest = &Family{Name: "bailiff_report_oldest_seconds", Type: Gauge, Unit: "seconds", Labels: []string{"destination"},
		Help: "Age of the oldest ban whose report waits; 0: none waits."}
	ReportHeld = &Family{Name: "bailiff_report_held", Type: Gauge, Labels: []string{"destination"},
		Help: "1 while nothing is delivered until somebody acts."}
	Reports = &Family{Name: "bailiff_reports_total", Type: Counter, Labels: []string{"destination", "result"},
		Help: "Reports that left the queue since the start of bailiff-report: delivered, or dropped."}
	ReportErrors = &Family{Name: "bailiff_report_errors_total", Type: Counter, Labels: []string{"destination"},
		Help: "Attempts to deliver that failed."}
	ReportCaughtUp = &Family{Name: "bailiff_report_caught_up", Type: Gauge,
		Help: "1 if bailiff-report has read all bans in the journal."}
)

// Families is every metric there is, in the order in which they are written.
var Families = []*Family{
	Up, BuildInfo, StartTime, CPU, Memory,
	ActiveBans, Bans, ObservedBans, Unbans, Latency,
	Failures, PatternFailures, AllowedFailures, Doubled, Unmatched, Refused, Tracked, TrackedLimit, Widened,
	JournalEntries, JournalLag, JournalSuppressed, JournalErrors, JournalFiles, JournalFaulty,
	FirewallInfo, FirewallOK, FirewallMissing, FirewallRepairs, FirewallErrors, DroppedPackets, DroppedBytes,
	Problems, ConfigOK, ConfigTime, ListTime, ListEntries, BlockListTime, BlockListEntries, BlockListPackets, BlockListBytes, FleetBans, FleetTime, FleetRefused, FleetTogether, FleetPrevented, AuditWaiting, AuditLost,
	ReportQueue, ReportOldest, ReportHeld, Reports, ReportErrors, ReportCaughtUp,
}
