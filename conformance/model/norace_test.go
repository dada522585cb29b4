//go:build !race

package model_test

const defaultCalls = 1_000_000
