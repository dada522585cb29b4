//go:build race

package model_test

// The race detector makes all of it slower.
const defaultCalls = 200_000
