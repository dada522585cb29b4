//go:build unix

package proc_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/internal/proc"
)

func TestMain(m *testing.M) {
	if os.Getenv("CHILD_HANGS") != "" {
		hang(make(chan int))
	}
	os.Exit(m.Run())
}

func hang(c chan int) {
	go func() { time.Sleep(time.Hour); c <- 1 }()
	fmt.Println("there")
	<-c
}

// A hurried test has a second, or a few.
type hurried struct {
	testing.TB
	end time.Time
}

func (h hurried) Deadline() (time.Time, bool) { return h.end, true }

func TestOneThatHangsSaysWhere(t *testing.T) {
	var out []byte
	// Again with more time if the machine was too slow to get it as far as to hang.
	for patience := time.Second; patience < time.Minute && !strings.HasPrefix(string(out), "there\n"); patience *= 2 {
		c := proc.Command(hurried{t, time.Now().Add(patience)}, os.Args[0])
		c.Env = append(os.Environ(), "CHILD_HANGS=1")
		var err error
		if out, err = c.CombinedOutput(); err == nil {
			t.Error("it ended well")
		}
	}
	for _, want := range []string{"there", "proc_test.hang(", "proc_test.hang.func1()", "SIGQUIT"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

func TestNoneIsLeft(t *testing.T) {
	var pid int
	var ended func() error
	t.Run("a test that forgets it", func(t *testing.T) {
		c := proc.Command(t, os.Args[0])
		c.Env = append(os.Environ(), "CHILD_HANGS=1")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "there\n" {
			t.Fatalf("%q, %v", line, err)
		}
		pid, ended = c.Process.Pid, c.Wait
	})
	if err := ended(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("process %d: %v", pid, err)
	}
}
