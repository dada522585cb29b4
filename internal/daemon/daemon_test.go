package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/go-cryptoki/cryptoki/rpc"
)

// What a PIN costs is of no account here.
func TestMain(m *testing.M) {
	soft.DefaultKDF = soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}
	os.Exit(m.Run())
}

// wait is how long something may take that must happen.
const wait = time.Minute

// A log is one that several goroutines write.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a daemon under test.
type running struct {
	*Daemon
	socket string
	log    *log
	stop   func() error
	reload func(*Config)
}

// start runs a daemon until stop or the end of the test.
func start(t *testing.T, c *Config) *running {
	t.Helper()
	if c.Socket == "" {
		c.Socket = filepath.Join(t.TempDir(), "socket")
	}
	require.NoError(t, c.Check())
	r := &running{socket: c.Socket, log: &log{}}
	var err error
	r.Daemon, err = New(t.Context(), c, slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	next := make(chan *Config, 1)
	hup := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, hup, func() (*Config, error) {
			c := <-next
			return c, c.Check()
		})
	}()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	r.reload = func(c *Config) {
		next <- c
		hup <- struct{}{}
	}
	t.Cleanup(func() { require.NoError(t, r.stop()) })
	require.Eventually(t, func() bool { return alive(&net.UnixAddr{Name: c.Socket, Net: "unix"}, wait) == nil }, wait, time.Millisecond)
	return r
}

var userPIN, soPIN = []byte("12345678"), []byte("87654321")

func softToken(t *testing.T) string {
	t.Helper()
	name := "soft:dir=" + filepath.Join(t.TempDir(), "token")
	token, err := cryptoki.Open(t.Context(), name+";create=true", nil)
	require.NoError(t, err)
	defer token.Close()
	require.NoError(t, token.Initialize(t.Context(), cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}))
	return name
}

func dial(t *testing.T, path string) *rpc.Client {
	t.Helper()
	c, err := rpc.Dial(t.Context(), path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

const rw = pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION

// Two tokens, one of which the user may only read and one not see.
func TestRules(t *testing.T) {
	ctx := t.Context()
	me, err := user.Current()
	require.NoError(t, err)
	a, b, hidden := softToken(t), softToken(t), softToken(t)
	d := start(t, &Config{Tokens: []Token{
		{Name: hidden, Allow: []string{"54321"}, ReadOnly: []string{"54322"}},
		{Name: a, Allow: []string{me.Uid}},
		{Name: b, Allow: []string{"54321"}, ReadOnly: []string{me.Username}},
	}})
	c := dial(t, d.socket)
	slots, err := c.Slots(ctx, true)
	require.NoError(t, err)
	require.Equal(t, []pkcs11.SlotID{1, 2}, slots)

	s, err := c.OpenSession(ctx, 1, rw)
	require.NoError(t, err)
	require.NoError(t, s.Login(ctx, pkcs11.CKU_USER, userPIN))

	info, err := c.TokenInfo(ctx, 2)
	require.NoError(t, err)
	require.NotZero(t, info.Flags&pkcs11.CKF_WRITE_PROTECTED)
	_, err = c.OpenSession(ctx, 2, rw)
	require.ErrorIs(t, err, pkcs11.CKR_TOKEN_WRITE_PROTECTED)
	require.ErrorIs(t, c.InitToken(ctx, 2, soPIN, "mine"), pkcs11.CKR_TOKEN_WRITE_PROTECTED)
	s, err = c.OpenSession(ctx, 2, pkcs11.CKF_SERIAL_SESSION)
	require.NoError(t, err)
	require.NoError(t, s.Login(ctx, pkcs11.CKU_USER, userPIN))
	si, err := s.Info(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, si.Slot)
	_, err = s.CreateObject(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_TOKEN, true)})
	require.ErrorIs(t, err, pkcs11.CKR_SESSION_READ_ONLY)
	_, err = c.OpenSession(ctx, 3, rw)
	require.ErrorIs(t, err, pkcs11.CKR_SLOT_ID_INVALID)
}

func TestAccess(t *testing.T) {
	peer := rpc.Peer{Known: true, PID: 1, UID: 4001, GID: 4002}
	group, err := user.LookupGroupId("0")
	require.NoError(t, err)
	for _, c := range []struct {
		allow, readOnly []string
		peer            rpc.Peer
		want            access
	}{
		{nil, nil, peer, full},
		{nil, nil, rpc.Peer{}, full},
		{[]string{"4001"}, nil, peer, full},
		{[]string{"4001"}, []string{"4001"}, peer, full},
		{[]string{"4002"}, []string{"4001"}, peer, readOnly},
		{[]string{"4002"}, nil, peer, noAccess},
		{nil, []string{"4002"}, peer, noAccess},
		{[]string{"*"}, nil, rpc.Peer{}, full},
		{[]string{"0"}, nil, rpc.Peer{}, noAccess},
		{[]string{"@" + group.Name}, nil, rpc.Peer{Known: true, UID: 4001, GID: 0}, full},
		{[]string{"@" + group.Name}, nil, peer, noAccess},
		{[]string{"@no-such-group", "no-such-user"}, nil, peer, noAccess},
	} {
		token := Token{Allow: c.allow, ReadOnly: c.readOnly}
		require.Equal(t, c.want, token.access(c.peer), "%v %v %+v", c.allow, c.readOnly, c.peer)
	}
}

// Clients that are there go on after a reload, with what they had; new ones are
// under the new rules.
func TestReload(t *testing.T) {
	ctx := t.Context()
	a, b := softToken(t), softToken(t)
	d := start(t, &Config{Tokens: []Token{{Name: a}}})
	before := dial(t, d.socket)
	s, err := before.OpenSession(ctx, 1, rw)
	require.NoError(t, err)
	serial := func(c *rpc.Client) string {
		info, err := c.TokenInfo(ctx, 1)
		require.NoError(t, err)
		return info.SerialNumber
	}
	first := serial(before)

	d.reload(&Config{Socket: d.socket, Tokens: []Token{{Name: b}}})
	require.Eventually(t, func() bool { return strings.Contains(d.log.String(), "configuration reloaded") }, wait, time.Millisecond)
	after := dial(t, d.socket)
	require.NotEqual(t, first, serial(after))
	require.NoError(t, s.Login(ctx, pkcs11.CKU_USER, userPIN), "the client of before")
	require.Equal(t, first, serial(before))
	require.NoError(t, before.Close())
	require.Eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.tokens) == 1
	}, wait, time.Millisecond, "the token that is gone is closed with its last client")

	// What cannot change is said.
	d.reload(&Config{Socket: d.socket, Group: "", Metrics: "127.0.0.1:1", MaxPerUser: 7, Tokens: []Token{{Name: b}}})
	require.Eventually(t, func() bool {
		return strings.Contains(d.log.String(), "needs a restart of the daemon\" key=max-per-user")
	}, wait, time.Millisecond)
	require.Contains(t, d.log.String(), "key=metrics")
	require.NotContains(t, d.log.String(), "key=socket")
	require.NotContains(t, d.log.String(), "key=group")

	// A configuration that does not open changes nothing.
	d.reload(&Config{Socket: d.socket, Tokens: []Token{{Name: "soft:dir=" + t.TempDir() + "/none"}}})
	require.Eventually(t, func() bool { return strings.Contains(d.log.String(), "stays as it was") }, wait, time.Millisecond)
	require.NotEqual(t, first, serial(dial(t, d.socket)))
}

// A token that is taken out and put back while a client still has it is the same
// one: a device that one process can have opens once.
func TestReloadPutsBack(t *testing.T) {
	a, b := softToken(t), softToken(t)
	with, without := &Config{Tokens: []Token{{Name: a}, {Name: b}}}, &Config{Tokens: []Token{{Name: b}}}
	d, err := New(t.Context(), with, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer d.closeAll()
	client, err := d.application(t.Context(), rpc.Peer{})
	require.NoError(t, err)
	token := d.tokens[0]
	require.NoError(t, d.Reload(t.Context(), without))
	require.True(t, token.retired)
	bad := &Config{Tokens: []Token{{Name: a}, {Name: "soft:dir=" + t.TempDir() + "/none"}}}
	require.Error(t, d.Reload(t.Context(), bad))
	require.True(t, token.retired, "after an error everything is as before")
	require.NoError(t, d.Reload(t.Context(), with))
	require.Same(t, token, d.tokens[0])
	require.NoError(t, client.Close())
	require.Len(t, d.tokens, 2, "its last client has gone, and it is still served")
	_, err = token.module.TokenInfo(t.Context(), 1)
	require.NoError(t, err)

	require.NoError(t, d.Reload(t.Context(), without))
	require.Len(t, d.tokens, 1)
	_, err = token.module.TokenInfo(t.Context(), 1)
	require.ErrorIs(t, err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, "nobody has it any more")
}

// The daemon is stopped and started again: a Token goes on, and logs in again.
func TestRestart(t *testing.T) {
	ctx := t.Context()
	name := softToken(t)
	socket := filepath.Join(t.TempDir(), "socket")
	d := start(t, &Config{Socket: socket, Tokens: []Token{{Name: name}}})
	token, err := cryptoki.Open(ctx, "unix:path="+socket, &cryptoki.Options{
		PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
			return bytes.Clone(userPIN), nil
		},
	})
	require.NoError(t, err)
	defer token.Close()
	signer, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: "k", Algorithm: cryptoki.P256})
	require.NoError(t, err)
	digest := make([]byte, 32)
	_, err = signer.Sign(nil, digest, nil)
	require.NoError(t, err)
	require.NoError(t, d.stop())
	_, err = os.Stat(socket)
	require.ErrorIs(t, err, os.ErrNotExist, "the socket is removed")
	_, err = signer.Sign(nil, digest, nil)
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_REMOVED)
	start(t, &Config{Socket: socket, Tokens: []Token{{Name: name}}})
	_, err = signer.Sign(nil, digest, nil)
	require.NoError(t, err)
}

func TestMetrics(t *testing.T) {
	ctx := t.Context()
	d := start(t, &Config{Metrics: "127.0.0.1:0", Tokens: []Token{{Name: softToken(t)}}})
	var address string
	require.Eventually(t, func() bool {
		_, address, _ = strings.Cut(d.log.String(), "msg=metrics address=")
		address, _, _ = strings.Cut(address, "\n")
		return address != ""
	}, wait, time.Millisecond)
	c := dial(t, d.socket)
	s, err := c.OpenSession(ctx, 1, rw)
	require.NoError(t, err)
	require.ErrorIs(t, s.Login(ctx, pkcs11.CKU_USER, []byte("wrong-one")), pkcs11.CKR_PIN_INCORRECT)
	get := func(request string) string {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer conn.Close()
		fmt.Fprint(conn, request)
		b, err := io.ReadAll(conn)
		require.NoError(t, err)
		return string(b)
	}
	// The call is counted when the client has its answer already, and the client that
	// has looked whether the daemon is alive may not have gone for it yet.
	require.Eventually(t, func() bool {
		page := get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		return strings.Contains(page, `cryptoki_calls_total{call="C_Login",code="CKR_PIN_INCORRECT"} 1`) && strings.Contains(page, "cryptoki_connections 1\n")
	}, wait, time.Millisecond)
	page := get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	require.True(t, strings.HasPrefix(page, "HTTP/1.1 200 OK\r\n"))
	for _, want := range []string{
		"cryptoki_connections 1\n",
		`cryptoki_calls_total{call="C_OpenSession",code="CKR_OK"} 1`,
		`cryptoki_call_duration_seconds_count{call="C_Login"} 1`,
		`cryptoki_call_duration_seconds_bucket{call="C_Login",le="+Inf"} 1`,
		`cryptoki_queue{slot="1",token="gateway"} 0`,
	} {
		require.Contains(t, page, want)
	}
	require.True(t, strings.HasPrefix(get("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 "))
	get("garbage\r\n\r\n")

	// A call is logged after it is counted.
	require.Eventually(t, func() bool {
		return strings.Contains(d.log.String(), "level=WARN msg=call name=C_Login")
	}, wait, time.Millisecond)
	require.NotContains(t, d.log.String(), "wrong-one")
}

// sample is a line of Prometheus' text format that is not a comment.
var sample = regexp.MustCompile(`^([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? ([0-9.e+-]+)$`)

// families reads a page as Prometheus does, and returns the types in it.
func families(t *testing.T, page string) map[string]string {
	t.Helper()
	require.True(t, utf8.ValidString(page))
	types, helped := map[string]string{}, map[string]bool{}
	within := map[string]float64{} // the last bucket of a histogram
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, text, _ := strings.Cut(rest, " ")
			require.NotEmpty(t, text, line)
			require.False(t, helped[name], line)
			helped[name] = true
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			require.True(t, helped[name], line)
			require.Contains(t, []string{"counter", "gauge", "histogram"}, kind)
			types[name] = kind
			continue
		}
		m := sample.FindStringSubmatch(line)
		require.NotNil(t, m, "%q", line)
		name, labels := m[1], m[2]
		value, err := strconv.ParseFloat(m[3], 64)
		require.NoError(t, err, line)
		if types[name] != "" {
			require.NotEqual(t, "histogram", types[name], line)
			require.Equal(t, types[name] == "counter", strings.HasSuffix(name, "_total"), line)
			continue
		}
		family := name[:strings.LastIndex(name, "_")]
		require.Equal(t, "histogram", types[family], line)
		call, _, _ := strings.Cut(labels, ",")
		switch strings.TrimPrefix(name, family) {
		case "_bucket":
			require.GreaterOrEqual(t, value, within[call], line)
			within[call] = value
		case "_count":
			require.Equal(t, within[call], value, line)
		case "_sum":
		default:
			t.Fatal(line)
		}
	}
	return types
}

// The page is in Prometheus' format whatever a token is called.
func TestMetricsPage(t *testing.T) {
	d := &Daemon{}
	d.metrics.init()
	d.metrics.count(rpc.Call{Name: "C_Sign", Duration: 2 * time.Millisecond})
	d.metrics.count(rpc.Call{Name: "C_Sign", Duration: 2 * time.Minute})
	d.metrics.count(rpc.Call{Name: "C_Login", Code: pkcs11.CKR_PIN_INCORRECT})
	for _, label := range []string{"gateway", "a \"b\" \\ c", "tab\tbell\a", "two\nlines", "\xff\xfe", "é\u200b"} {
		d.tokens = append(d.tokens, &served{module: absent{}, token: &named{label: label}})
	}
	var b strings.Builder
	d.writeMetrics(&b)
	require.Equal(t, map[string]string{
		"cryptoki_connections": "gauge", "cryptoki_queue": "gauge",
		"cryptoki_calls_total": "counter", "cryptoki_device_resets_total": "counter",
		"cryptoki_call_duration_seconds": "histogram",
	}, families(t, b.String()))
	for _, want := range []string{
		`cryptoki_calls_total{call="C_Sign",code="CKR_OK"} 2`,
		`cryptoki_call_duration_seconds_bucket{call="C_Sign",le="0.001"} 0`,
		`cryptoki_call_duration_seconds_bucket{call="C_Sign",le="0.005"} 1`,
		`cryptoki_call_duration_seconds_bucket{call="C_Sign",le="60"} 1`,
		`cryptoki_call_duration_seconds_bucket{call="C_Sign",le="+Inf"} 2`,
		`cryptoki_call_duration_seconds_sum{call="C_Sign"} 120.002`,
		`cryptoki_queue{slot="2",token="a \"b\" \\ c"} 0`,
		`cryptoki_queue{slot="4",token="two\nlines"} 0`,
		`cryptoki_device_resets_total{slot="1",token="gateway"} 7`,
	} {
		require.Contains(t, b.String(), want+"\n")
	}
}

// named is a token of any label, whose device was reset.
type named struct {
	driver.Token
	label string
}

func (n *named) Info() driver.Info { return driver.Info{Label: n.label} }

func (n *named) Resets() uint64 { return 7 }

// The watchdog is answered while nobody more gets in, and by a daemon that serves
// only.
func TestAlive(t *testing.T) {
	d := start(t, &Config{MaxConnections: 2, Tokens: []Token{{Name: softToken(t)}}})
	addr := &net.UnixAddr{Name: d.socket, Net: "unix"}
	require.Eventually(t, func() bool {
		for range 2 {
			c, err := net.Dial("unix", d.socket)
			require.NoError(t, err)
			defer c.Close()
		}
		c, err := net.Dial("unix", d.socket)
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Second)))
		_, err = c.Read(make([]byte, 1))
		require.NoError(t, alive(addr, wait))
		return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	}, wait, time.Millisecond, "no more get in")
	require.NotContains(t, d.log.String(), "name=C_Initialize", "it is no client")

	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "hung"), Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	require.ErrorIs(t, alive(l.Addr(), 200*time.Millisecond), os.ErrDeadlineExceeded)
	require.NoError(t, l.Close())
	require.Error(t, alive(l.Addr(), wait))
}

// While a reload waits for a device, the watchdog is answered and the daemon can be
// stopped.
func TestReloadHangs(t *testing.T) {
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	require.NoError(t, err)
	defer notify.Close()
	t.Setenv("NOTIFY_SOCKET", notify.LocalAddr().String())
	t.Setenv("WATCHDOG_USEC", "30000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	until := func(want string) {
		t.Helper()
		require.NoError(t, notify.SetReadDeadline(time.Now().Add(wait)))
		for b := make([]byte, 200); ; {
			n, err := notify.Read(b)
			require.NoError(t, err)
			if strings.HasPrefix(string(b[:n]), want) {
				return
			}
		}
	}
	c := &Config{Socket: filepath.Join(t.TempDir(), "socket"), Tokens: []Token{{Name: softToken(t)}}}
	require.NoError(t, c.Check())
	d, err := New(t.Context(), c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	hup, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- d.Run(ctx, hup, func() (*Config, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	}()
	until("READY=1")
	hup <- struct{}{}
	until("RELOADING=1")
	until("WATCHDOG=1")
	until("WATCHDOG=1")
	stop()
	until("STOPPING=1")
	require.NoError(t, <-done)
}

// A module of others that crashes or hangs is one token that is not there; the other
// tokens are.
func TestBrokenModule(t *testing.T) {
	const softHSM = "/usr/lib/softhsm/libsofthsm2.so"
	need.File(t, "softhsm2", softHSM)
	p11kit := need.Program(t, "p11-kit", "p11-kit p11-kit-modules")
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
	}
	write("mode", "work", 0o600)
	write("softhsm2.conf", "directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n", 0o600)
	write("p11-kit", fmt.Sprintf(`#!/bin/sh
case $(cat %[1]s/mode) in
crash) echo I crash >&2; kill -9 $$ ;;
hang) exec sleep 10000 ;;
esac
exec %[2]s "$@"
`, dir, p11kit), 0o700)
	t.Setenv("SOFTHSM2_CONF", filepath.Join(dir, "softhsm2.conf"))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))

	ctx := t.Context()
	foreign := "p11-kit-remote:module=" + softHSM
	log := &log{}
	d, err := New(ctx, &Config{Tokens: []Token{{Name: softToken(t)}, {Name: foreign}, {Name: softToken(t)}}}, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	defer d.closeAll()
	client := func() cryptoki.Module {
		m, err := d.application(ctx, rpc.Peer{})
		require.NoError(t, err)
		t.Cleanup(func() { m.Close() })
		for _, slot := range []pkcs11.SlotID{1, 3} {
			info, err := m.TokenInfo(ctx, slot)
			require.NoError(t, err)
			require.Equal(t, "gateway", info.Label)
		}
		return m
	}
	d.openTime = wait
	before := client()
	info, err := before.SlotInfo(ctx, 2)
	require.NoError(t, err)
	require.Contains(t, info.Description, "SoftHSM")
	require.Empty(t, log.String())

	for _, c := range []struct {
		mode, why string
		openTime  time.Duration
	}{{"crash", "I crash", wait}, {"hang", "deadline exceeded", time.Second}} {
		write("mode", c.mode, 0o600)
		d.openTime = c.openTime
		m := client()
		require.Contains(t, log.String(), c.why)
		require.Contains(t, log.String(), foreign)
		slots, err := m.Slots(ctx, false)
		require.NoError(t, err)
		require.Equal(t, []pkcs11.SlotID{1, 2, 3}, slots, "the slots keep their numbers")
		slots, err = m.Slots(ctx, true)
		require.NoError(t, err)
		require.Equal(t, []pkcs11.SlotID{1, 3}, slots)
		_, err = m.TokenInfo(ctx, 2)
		require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_PRESENT)
		_, err = m.OpenSession(ctx, 2, rw)
		require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_PRESENT)
	}
	_, err = before.TokenInfo(ctx, 2)
	require.NoError(t, err, "the client of before has its own")

	// Alone it refuses the client, with its own code.
	write("mode", "crash", 0o600)
	d.config.Tokens = d.config.Tokens[1:2]
	_, err = d.application(ctx, rpc.Peer{})
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
	require.ErrorContains(t, err, foreign)
	write("mode", "work", 0o600)
	m, err := d.application(ctx, rpc.Peer{})
	require.NoError(t, err)
	require.NoError(t, m.Close())
}

// What is wrong with a configuration is said with the cure.
func TestConfig(t *testing.T) {
	token := "[[token]]\nname = \"soft:dir=/x\"\n"
	for text, want := range map[string]string{
		"":                                  "no token is named",
		"# nothing\n":                       "write [[token]]",
		token + "sockets = \"/x\"\n":        `cryptoki.toml:3: unknown key "sockets"; the keys of a token are name, allow, read-only`,
		token + "[limits]\nusers = 3\n":     `cryptoki.toml:3: unknown key "limits"; the keys are socket, mode, group, metrics, max-connections, max-per-user, token`,
		"socket = \n" + token:               "cryptoki.toml:1:",
		"\nsocket = 3\n" + token:            "cryptoki.toml:2: socket: want text in quotes",
		"mode = 660\n" + token:              "cryptoki.toml:1: mode: want text in quotes",
		"max-per-user = \"9\"\n" + token:    "cryptoki.toml:1: max-per-user: want a number",
		"max-per-user = 2.5\n" + token:      "cryptoki.toml:1: max-per-user: want a number",
		"max-connections = -1\n" + token:    "cryptoki.toml:1: max-connections -1: want at least 1",
		"[token]\nname = \"soft:dir=/x\"\n": "cryptoki.toml:1: token: want tables: write [[token]]",
		"token = [1]\n":                     "cryptoki.toml:1: token: want tables",
		"token = [{name = \"soft:dir=/x\", allows = 1}]\n":         `cryptoki.toml:1: unknown key "allows"`,
		token + token[:10] + "name = 7\n":                          "cryptoki.toml:4: name: want text",
		token + "allow = \"root\"\n":                               `cryptoki.toml:3: allow: want a list of texts, such as ["gateway"`,
		token + "read-only = [0]\n":                                "cryptoki.toml:3: read-only: want a list of texts",
		"\nmode = \"rw\"\n" + token:                                `cryptoki.toml:2: mode "rw": want octal`,
		"group = \"no-such\"\n" + token:                            `cryptoki.toml:1: group "no-such": there is none of that name; make it`,
		"metrics = \"0.0.0.0:9469\"\n" + token:                     "cryptoki.toml:1: metrics \"0.0.0.0:9469\": only a loopback address",
		"metrics = \"9469\"\n" + token:                             "cryptoki.toml:1: metrics \"9469\": want an address",
		token + token:                                              `cryptoki.toml:4: token "soft:dir=/x" is named twice; take one out`,
		token + "[[token]]\nallow = [\"0\"]\n":                     "cryptoki.toml:3: token 2 has no name",
		token + "allow = [\"no-such-user\"]\n":                     `cryptoki.toml:3: token "soft:dir=/x": allow: there is no user "no-such-user"; correct it`,
		token + "read-only = [\n\"0\",\n\"@no-such-group\"]\n":     `cryptoki.toml:5: token "soft:dir=/x": read-only: there is no group "no-such-group"`,
		"socket = \"/" + strings.Repeat("x", 200) + "\"\n" + token: "cryptoki.toml:1: socket \"/" + strings.Repeat("x", 200) + "\": the path of a Unix socket has at most 107 bytes",
	} {
		path := filepath.Join(t.TempDir(), "cryptoki.toml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := Load(path)
		require.ErrorContains(t, err, want, "%q", text)
	}
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	require.ErrorContains(t, err, "name tokens with -t")
}

// A socket that nobody serves is replaced, one that is served and other files are
// not.
func TestListen(t *testing.T) {
	dir := t.TempDir()
	c := &Config{Socket: filepath.Join(dir, "socket"), Mode: "0620", Tokens: []Token{{Name: "soft:"}}}
	l, err := net.Listen("unix", c.Socket)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_, err = c.listen()
	require.ErrorContains(t, err, "another process serves on it")
	require.NoError(t, l.Close())
	l, err = c.listen()
	require.NoError(t, err)
	fi, err := os.Stat(c.Socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o620), fi.Mode().Perm())
	require.NoError(t, l.Close())

	require.NoError(t, os.WriteFile(c.Socket, nil, 0o600))
	_, err = c.listen()
	require.ErrorContains(t, err, "is no socket")
	c.Socket = filepath.Join(dir, "none", "socket")
	_, err = c.listen()
	require.ErrorContains(t, err, "RuntimeDirectory")
}

// A token that does not open is named.
func TestNew(t *testing.T) {
	_, err := New(t.Context(), &Config{Tokens: []Token{{Name: softToken(t)}, {Name: "soft:dir=" + t.TempDir() + "/none"}}}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "/none")
	_, err = New(t.Context(), &Config{Tokens: []Token{{Name: "chip:"}}}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, `no backend "chip"`)
}
