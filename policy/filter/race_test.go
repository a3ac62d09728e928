//go:build race

package filter

// The race detector has sync.Pool, in which regexp keeps its machines, drop things at random.
const raced = true
