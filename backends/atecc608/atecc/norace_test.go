//go:build !race

package atecc_test

const raceEnabled = false
