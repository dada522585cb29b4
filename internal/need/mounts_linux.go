package need

import (
	"os"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/proc"
)

// Mounts returns what gives a child process mounts of its own, and the right to
// change them, with the user who runs the test as its root.
func Mounts(t testing.TB) *syscall.SysProcAttr {
	t.Helper()
	attr := func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		}
	}
	c := proc.Command(t, Program(t, "mount", "mount"), "-t", "tmpfs", "none", t.TempDir())
	c.SysProcAttr = attr()
	if out, err := c.CombinedOutput(); err != nil {
		Missing(t, "a user may not mount in a namespace here: %v %s", err, out)
	}
	return attr()
}
