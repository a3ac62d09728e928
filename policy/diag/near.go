package diag

import "strings"

// Near returns the known word that a mistyped one most probably means, or "". Case, hyphens and underscores are ignored.
func Near(word string, known []string) string {
	best, least := "", 1+min(2, len(word)/3)
	w := plain(word)
	for _, k := range known {
		if d := distance(w, plain(k), least); d < least {
			best, least = k, d
		}
	}
	return best
}

func plain(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance is the number of letters to insert, delete, change or swap with the next one, at most limit. It is written out
// because no library in use has it and 25 lines are less than a dependency.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 64 {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}
