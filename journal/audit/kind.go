package audit

// Kind is what an entry is about.
type Kind uint8

// The kinds. KindLog is an ordinary log message, without a MESSAGE_ID.
const (
	KindLog              Kind = iota
	KindBan                   // a prefix was banned
	KindExtend                // a ban was prolonged, or closes more ports
	KindObserved              // a jail that only observes would have banned a prefix
	KindUnban                 // a ban ended or was lifted
	KindAllow                 // a prefix was added to the allow list at run time
	KindDisallow              // a prefix was removed from it
	KindStart                 // the daemon is ready
	KindStop                  // the daemon stops
	KindReload                // a new configuration is in effect
	KindReloadRefused         // a new configuration was rejected, and the previous one kept
	KindError                 // an error that an administrator should look at
	KindLag                   // the daemon reads the journal more slowly than it is written
	KindFirewallRepaired      // rules or sets that something else had removed were restored
	KindFirewallChanged       // another backend is in use, or rules of an unused one were removed
	KindFirewallError         // the firewall rejects changes: bans are not in effect
	KindJournalProblem        // a damaged journal file, a cursor that was vacuumed, a clock that was set back
	KindSuppressed            // journald suppressed messages of a watched unit: evidence is missing
	KindAuditLost             // audit entries could not be written
	KindAllowList             // a published allow list was updated
	KindAllowListRefused      // a published allow list was rejected, and the previous one kept
	KindBlockList             // a published block list was loaded
	KindBlockListRefused      // a published block list was rejected, and the previous one kept
	KindStateSetAside         // the state file was damaged or missing, and was rebuilt
	KindRecovered             // a problem that an earlier entry with the same FieldProblem reported is over
	KindReported              // bailiff-report: a destination accepted a report
	KindReportDropped         // bailiff-report: a report will not be delivered
	KindReportsHeld           // bailiff-report: a destination is held until an operator acts
	KindReportsResumed        // bailiff-report: a destination that was held or failing works again
	KindReportQueue           // bailiff-report: the queue was damaged, or cannot be written
)

// kinds holds the name, MESSAGE_ID and usual priority of each kind. An id never changes and is never reused: scripts and bailiff-report
// match on it, and units/catalog explains it. New ids are made with systemd-id128 new.
var kinds = [...]struct {
	name, id string
	priority Priority
}{
	KindLog:              {"log", "", Info},
	KindBan:              {"ban", "63e1b83bd1084d36901b3ec5122b91f2", Notice},
	KindExtend:           {"extend", "19692420c95c4e3bb4d2ec0d995355cc", Notice},
	KindObserved:         {"would-ban", "c20f621b12f14afda5261ab879484297", Info},
	KindUnban:            {"unban", "a70d516764cf4dc592d4787f3c45c94a", Info},
	KindAllow:            {"allow", "01048d22a01b4732a932d3fe1989696a", Notice},
	KindDisallow:         {"disallow", "339808dbbd234d249bc50c404d34243d", Notice},
	KindStart:            {"start", "3901a24254c3418a96557f3cfe98a862", Info},
	KindStop:             {"stop", "42cc48dbb7e94467b359b11e562bdcff", Info},
	KindReload:           {"reload", "fa595816d49f4d78a504fb677e97e1de", Info},
	KindReloadRefused:    {"reload-refused", "3f6f162f5e6844b38ac7aaa61df1cb73", Err},
	KindError:            {"error", "bacb7834bd824ed592fba63e953e731e", Err},
	KindLag:              {"lag", "5e5733c55f5a41f0b0e946fcf3e33e57", Warning},
	KindFirewallRepaired: {"firewall-repaired", "883343ecef3141b6995ebe3bc646eab8", Warning},
	KindFirewallChanged:  {"firewall-changed", "a419f6525ad5474498a5aece745af90c", Notice},
	KindFirewallError:    {"firewall-error", "de2228fa0d9e4ef5b7c73a1a9f2336df", Crit},
	KindJournalProblem:   {"journal-problem", "b48a54a755de482bbb4414bae15d8b45", Warning},
	KindSuppressed:       {"suppressed", "2ed0a624bb3a42c197a173e6a1aac08f", Warning},
	KindAuditLost:        {"audit-lost", "337803f68d32491983b8009246fb8966", Warning},
	KindAllowList:        {"allow-list", "7b0fb596bb944a1bb59db8729d360a8a", Info},
	KindAllowListRefused: {"allow-list-refused", "21931f02cb304fc28c8b54b7e5702755", Warning},
	KindBlockList:        {"block-list", "0680eb09bb974a6b85192b4c736f6ab3", Info},
	KindBlockListRefused: {"block-list-refused", "0beaf99473804ad392b68c688cfd4e50", Warning},
	KindStateSetAside:    {"state-set-aside", "9e18998b5f9e4ceab14cb5c51aac1efb", Crit},
	KindRecovered:        {"recovered", "b4d5cf8fffc744c7965198455de65682", Notice},
	KindReported:         {"reported", "9677659f792d4e9ab6c0283fba4300f0", Info},
	KindReportDropped:    {"report-dropped", "e0029f9843874637b051f7805849bc42", Warning},
	KindReportsHeld:      {"reports-held", "af52c07ac45f4deab69d4f68e0e25a6f", Warning},
	KindReportsResumed:   {"reports-resumed", "b385825608fa40c9a8fefddc6a5f8eb5", Notice},
	KindReportQueue:      {"report-queue", "fc38307461644345af1df08abdab7b32", Err},
}

// KindOf returns the kind with a MESSAGE_ID.
func KindOf(messageID string) (Kind, bool) {
	for k := range kinds {
		if kinds[k].id == messageID && messageID != "" {
			return Kind(k), true
		}
	}
	return KindLog, false
}

// ID is the kind's MESSAGE_ID: 32 lower-case hex digits, or "" for KindLog.
func (k Kind) ID() string {
	if int(k) >= len(kinds) {
		return ""
	}
	return kinds[k].id
}

// Priority is the usual priority of entries of the kind.
func (k Kind) Priority() Priority {
	if int(k) >= len(kinds) {
		return Info
	}
	return kinds[k].priority
}

func (k Kind) String() string {
	if int(k) >= len(kinds) {
		return "unknown"
	}
	return kinds[k].name
}
