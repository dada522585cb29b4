//go:build !race

package atecc608_test

const slow = false
