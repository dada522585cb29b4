//go:build !race && (linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package processes_test

const kills = 500
