//go:build !linux

package main

import (
	"os"
	"os/exec"
)

// unprivileged runs a command; elsewhere than on Linux tests do not run as root.
func unprivileged() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if cmd.Run() != nil {
		os.Exit(1)
	}
}
