//go:build race

package filter

// Under the race detector sync.Pool, where regexp keeps its machines, drops things at random.
const raced = true
