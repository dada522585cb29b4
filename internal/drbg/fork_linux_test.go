package drbg

import (
	"bytes"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/pal"
)

// TestFork forks the process, and asks the child whether it has noticed. A forked
// Go program has one thread and no scheduler, so that the child does nothing but
// look and say so by its exit status.
func TestFork(t *testing.T) {
	watchForks()
	if alive == nil {
		need.Missing(t, "this kernel has no MADV_WIPEONFORK, which came with Linux 4.14")
	}
	before := forkCount()
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if pid == 0 {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(alive.Load()), 0, 0)
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(int(pid), &status, 0, nil)
		if err == nil {
			break
		}
		if err != syscall.EINTR {
			t.Fatal(err)
		}
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("the child ended with %v; 0 was to say that its page is empty", status)
	}
	if forkCount() != before {
		t.Error("the parent believes that it is a child")
	}
}

// TestAfterFork has a generator in the child draw anew from the sources, and not
// hand out what the parent hands out.
func TestAfterFork(t *testing.T) {
	n := &noise{}
	g := generator(t, Options{Sources: []pal.EntropySource{n}})
	other := generator(t, Options{Sources: []pal.EntropySource{n}})
	g.leaves = g.leaves[:1]
	read(t, g, 1)
	read(t, other, 1)
	parents := bytes.Clone(g.leaves[0].rest[:32])
	reads := n.reads
	if alive == nil {
		pid.Store(1)
	} else {
		alive.Store(0) // as the kernel does
	}
	if got := read(t, g, 32); bytes.Equal(got, parents) {
		t.Error("the child hands out what the parent does")
	}
	read(t, other, 1)
	if n.reads != reads+2 {
		t.Errorf("two generators drew %d times from the source, want 2", n.reads-reads)
	}
}
