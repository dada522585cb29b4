//go:build race

package atecc608_test

// With the race detector, ten times as slow, some tests make fewer rounds.
const slow = true
