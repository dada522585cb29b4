//go:build unix

package atecc608_test

import (
	"os/exec"
	"syscall"
)

// asNobody has a command run as a user who may nothing.
func asNobody(c *exec.Cmd) {
	const nobody = 65534
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}
