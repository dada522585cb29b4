//go:build !race

package rpc

// raceEnabled says that the race detector watches, which allocates.
const raceEnabled = false
