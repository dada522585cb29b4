//go:build !linux

package tpmtest

import "os/exec"

// A test that is killed leaves its swtpm behind here.
func dieWithParent(*exec.Cmd) {}
