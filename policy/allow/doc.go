// Package allow holds the addresses that are never banned.
package allow
