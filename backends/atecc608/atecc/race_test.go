//go:build race

package atecc_test

const raceEnabled = true
