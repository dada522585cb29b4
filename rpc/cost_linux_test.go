package rpc

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
)

// A call of a client that makes one after another is one read and one write for the
// server.
func TestSyscalls(t *testing.T) {
	const traced, calls = "RPC_TRACED", 2000
	if path := os.Getenv(traced); path != "" {
		serveTraced(t, path)
		return
	}
	strace := need.Program(t, "strace", "strace")
	if out, err := proc.Command(t, strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		need.Missing(t, "strace may not trace here: %v %s", err, out)
	}
	path, trace := filepath.Join(t.TempDir(), "socket"), filepath.Join(t.TempDir(), "trace")
	cmd := proc.Command(t, strace, "-f", "-y", "-qq", "-s", "0", "-o", trace, "-e", "trace=%desc,%network",
		os.Args[0], "-test.run=^TestSyscalls$", "-test.count=1")
	cmd.Env = append(os.Environ(), traced+"="+path, "GOMAXPROCS=4", "GORACE=")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	p, _, _ := signing(t, path)
	info := request(callGetSessionInfo, func(w *writer) { w.uint64(1) })
	for range calls {
		p.call(t, info)
	}
	require.NoError(t, p.c.Close())
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())

	text, err := os.ReadFile(trace)
	require.NoError(t, err)
	begun := regexp.MustCompile(`^\d+ +(\w+)\(\d+<socket:`)
	count := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if m := begun.FindStringSubmatch(line); m != nil {
			count[m[1]]++
		}
	}
	others := -count["read"] - count["write"]
	for _, n := range count {
		others += n
	}
	t.Log(count)
	require.Equal(t, calls+4, count["write"], "one for each answer, and those of the beginning")
	require.InDelta(t, calls+calls/40, count["read"], calls/40, "one for each call, and some that a signal has ended")
	require.Less(t, others, 60, "connecting, and becoming hot")
}

// serveTraced is the server of TestSyscalls, until the standard input ends. Its
// connections stay hot, however slowly the test calls.
func serveTraced(t *testing.T, path string) {
	warmTime, coolTime = time.Hour, time.Hour
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	s := NewServer(softModule(t), nil)
	go s.Serve(l)
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	require.NoError(t, s.Close())
}
