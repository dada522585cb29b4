//go:build !race

package tpm_test

// raceEnabled says that everything takes ten times as long.
const raceEnabled = false
