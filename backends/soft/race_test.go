//go:build race

package soft

// The race detector makes everything slow. It is not what finds a missing sync.
const raceDetector = true
