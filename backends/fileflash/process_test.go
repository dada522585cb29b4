//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package fileflash_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

// The test binary is its own second process: FILEFLASH_CHILD says what it does,
// its arguments follow.
func TestMain(m *testing.M) {
	if child := os.Getenv("FILEFLASH_CHILD"); child != "" {
		if err := children[child](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var children = map[string]func(args []string) error{
	"write":    childWrite,
	"mix":      childMix,
	"readonly": childReadOnly,
	"hold":     childHold,
}

func child(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	c := proc.Command(t, exe, args...)
	c.Env = append(os.Environ(), "FILEFLASH_CHILD="+what)
	return c
}

// childWrite changes a pair of records and a counter for ever, and says after
// each change how far it is.
func childWrite(args []string) error {
	s, err := fileflash.Open(args[0], nil)
	if err != nil {
		return err
	}
	n := 0
	if data, err := s.Load("pair-a"); err == nil {
		n = number(data)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The process before may have been killed before it removed this one.
	if err := s.Remove("alone"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fmt.Println("open", n)
	for {
		n++
		// The size makes for a compaction every thirty changes or so.
		data := numbered(n, 1000+n%800)
		if err := s.Batch([]pal.Change{{Name: "pair-a", Data: data}, {Name: "pair-b", Data: data}}); err != nil {
			return err
		}
		fmt.Println("pair", n)
		if err := s.Save("alone", numbered(n, 8)); err != nil {
			return err
		}
		fmt.Println("alone", n)
		if err := s.Remove("alone"); err != nil {
			return err
		}
		fmt.Println("removed", n)
	}
}

func numbered(n, size int) []byte {
	data := slices.Repeat([]byte{byte(n)}, size)
	binary.LittleEndian.PutUint64(data, uint64(n))
	return data
}

func number(data []byte) int { return int(binary.LittleEndian.Uint64(data)) }

// A process that is killed at any moment leaves each change done or not, and
// no lock.
func TestKill(t *testing.T) {
	dir := privateDir(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	kills := 60
	for i := range kills {
		c := child(t, "write", dir)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		var stderr strings.Builder
		c.Stderr = &stderr
		require.NoError(t, c.Start())
		lines := bufio.NewReader(out)
		// After so many lines; the process is then wherever it is.
		for range rnd.IntN(40) {
			if _, err := lines.ReadString('\n'); err != nil {
				break
			}
		}
		require.NoError(t, c.Process.Kill())
		rest, err := io.ReadAll(lines)
		require.NoError(t, err)
		err = c.Wait()
		require.Equal(t, syscall.SIGKILL, c.ProcessState.Sys().(syscall.WaitStatus).Signal(), "%v %s", err, &stderr)

		acked := strings.Fields(string(rest)) // what was read before is older
		s, err := fileflash.Open(dir, nil)
		require.NoError(t, err, "kill %d", i)
		require.NoError(t, s.Check())
		a, err := s.Load("pair-a")
		if errors.Is(err, fs.ErrNotExist) {
			require.NotContains(t, string(rest), "pair")
			require.NoError(t, s.Close())
			continue
		}
		require.NoError(t, err)
		b, err := s.Load("pair-b")
		require.NoError(t, err)
		require.Equal(t, a, b, "the pair is one step")
		alone, err := s.Load("alone")
		exists := err == nil
		if !exists {
			require.ErrorIs(t, err, fs.ErrNotExist)
		} else {
			require.Equal(t, number(a), number(alone))
		}
		if len(acked) >= 2 {
			last, err := strconv.Atoi(acked[len(acked)-1])
			require.NoError(t, err)
			switch what := acked[len(acked)-2]; what {
			case "open", "removed":
				require.Contains(t, []int{last, last + 1}, number(a))
				require.False(t, exists && number(a) == last, "%s %d", what, last)
			case "pair", "alone":
				require.Equal(t, last, number(a))
				if what == "alone" && !exists {
					break // the removal has happened, and was not yet told
				}
			}
		}
		require.NoError(t, s.Close())
	}
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.LessOrEqual(t, len(names), 2)
	// The next change leaves only the log.
	s := open(t, dir)
	require.NoError(t, s.Save("x", []byte("x")))
	names, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
	t.Logf("%d kills, the log has %d bytes", kills, s.Stats().Size)
}

// childMix makes random changes to records of its own, and counts in one that
// all share.
func childMix(args []string) error {
	dir, id := args[0], args[1]
	seed, err := strconv.Atoi(id)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	s, err := fileflash.Open(dir, nil)
	if err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	own := map[string][]byte{}
	for i := range n {
		name := fmt.Sprintf("own-%s-%d", id, rnd.IntN(10))
		switch rnd.IntN(6) {
		case 0:
			err := s.Remove(name)
			if _, ok := own[name]; ok != (err == nil) {
				return fmt.Errorf("remove %s: %v, it was there: %t", name, err, ok)
			}
			delete(own, name)
		case 1, 2:
			own[name] = numbered(i, 8+rnd.IntN(2000))
			if err := s.Save(name, own[name]); err != nil {
				return err
			}
		case 3:
			unlock, err := s.Lock()
			if err != nil {
				return err
			}
			data, err := s.Load("shared")
			if err != nil {
				return err
			}
			if err := s.Batch([]pal.Change{{Name: "shared", Data: numbered(number(data)+1, 8)}, {Name: "count-" + id, Data: count(s, id)}}); err != nil {
				return err
			}
			if err := unlock(); err != nil {
				return err
			}
		case 4:
			if _, err := s.Changes(); err != nil {
				return err
			}
			names, err := s.Names()
			if err != nil {
				return err
			}
			for _, name := range names {
				// Another process may compact, remove and replace meanwhile.
				if data, err := s.Load(name); err != nil {
					return err
				} else if len(data) < 8 {
					return fmt.Errorf("record %s has %d bytes", name, len(data))
				}
			}
		default:
			for name, want := range own {
				if data, err := s.Load(name); err != nil || !slices.Equal(data, want) {
					return fmt.Errorf("record %s: %v, or not as saved", name, err)
				}
			}
		}
	}
	return s.Close()
}

func count(s *fileflash.Store, id string) []byte {
	data, err := s.Load("count-" + id)
	if err != nil {
		return numbered(1, 8)
	}
	return numbered(number(data)+1, 8)
}

func TestProcesses(t *testing.T) {
	dir := privateDir(t)
	s := open(t, dir)
	require.NoError(t, s.Save("shared", numbered(0, 8)))
	const processes, changes = 6, 200
	var running []*exec.Cmd
	var outputs []*strings.Builder
	for i := range processes {
		c := child(t, "mix", dir, strconv.Itoa(i), strconv.Itoa(changes))
		out := new(strings.Builder)
		c.Stdout, c.Stderr = out, out
		require.NoError(t, c.Start())
		running, outputs = append(running, c), append(outputs, out)
	}
	done := make(chan error, processes)
	for i, c := range running {
		go func() {
			err := c.Wait()
			if err != nil {
				err = fmt.Errorf("process %d: %w: %s", i, err, outputs[i])
			}
			done <- err
		}()
	}
	for left := processes; left > 0; {
		select {
		case err := <-done:
			require.NoError(t, err)
			left--
		default: // a reader that asks all the time
			_, err := s.Changes()
			require.NoError(t, err)
			_, err = paltest.Records(s)
			require.NoError(t, err)
		}
	}
	_, err := s.Changes()
	require.NoError(t, err)
	shared, err := s.Load("shared")
	require.NoError(t, err)
	sum := 0
	for i := range processes {
		if data, err := s.Load(fmt.Sprint("count-", i)); err == nil {
			sum += number(data)
		}
	}
	require.Equal(t, sum, number(shared), "the changes under Lock were one step each")
	require.NotZero(t, sum)
	seen, err := paltest.Records(s)
	require.NoError(t, err)
	fresh, err := paltest.Records(open(t, dir))
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(seen, fresh))
}

// childHold takes the lock and keeps it until it is killed.
func childHold(args []string) error {
	s, err := fileflash.Open(args[0], nil)
	if err != nil {
		return err
	}
	if _, err := s.Lock(); err != nil {
		return err
	}
	fmt.Println("locked")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func TestLockOfAnotherProcess(t *testing.T) {
	dir := privateDir(t)
	s := open(t, dir)
	require.NoError(t, s.Save("a", []byte("1")))
	c := child(t, "hold", dir)
	_, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)

	// Readers do not wait.
	_, err = s.Changes()
	require.NoError(t, err)
	data, err := s.Load("a")
	require.NoError(t, err)
	require.Equal(t, "1", string(data))

	saved := make(chan error)
	go func() { saved <- s.Save("a", []byte("2")) }()
	for s.Queued() == 0 {
		select {
		case err := <-saved:
			t.Fatal("Save did not wait", err)
		default:
		}
	}
	require.NoError(t, c.Process.Kill())
	c.Wait()
	require.NoError(t, <-saved, "the lock of a dead process is gone")
}
