//go:build linux && !386 && !race

package clients

import (
	"os/exec"
	"syscall"
	"time"
)

// setGroup puts a script in a process group of its own, which is killed as a
// whole when its time is over.
func setGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
}

// killGroup ends what a script has left running.
func killGroup(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
