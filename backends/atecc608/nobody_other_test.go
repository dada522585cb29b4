//go:build !unix

package atecc608_test

import "os/exec"

// asNobody is for root, whom there is not here.
func asNobody(*exec.Cmd) { panic("not here") }
