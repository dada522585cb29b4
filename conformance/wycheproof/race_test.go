//go:build race

package wycheproof

const raceDetector = true
