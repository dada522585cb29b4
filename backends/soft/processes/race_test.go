//go:build race && (linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package processes_test

// The race detector makes the start of a process slow.
const kills = 60
