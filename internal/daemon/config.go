// Package daemon is what "cryptoki serve" runs: one process that owns tokens,
// and serves them to the programs of a machine by p11-kit's protocol.
package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/go-cryptoki/cryptoki/rpc"
)

// A Config says what is served to whom. It is the form of
// /etc/cryptoki/cryptoki.toml.
type Config struct {
	// Socket is the path of the Unix socket; Mode, in octal, and Group are what
	// it gets. They are not used for a socket that systemd passes.
	Socket string `toml:"socket"`
	Mode   string `toml:"mode"`
	Group  string `toml:"group"`
	// Metrics is a loopback address for Prometheus, "127.0.0.1:9469" say; none if
	// it is empty.
	Metrics string `toml:"metrics"`
	// MaxConnections and MaxPerUser limit the clients, 1024 and 256 by default.
	MaxConnections int `toml:"max-connections"`
	MaxPerUser     int `toml:"max-per-user"`
	// Tokens are served in this order, as slots 1, 2, …
	Tokens []Token `toml:"token"`
}

// A Token is one that is served.
type Token struct {
	// Name is the token's name, "tpm:device=/dev/tpmrm0;dir=/var/lib/cryptoki".
	Name string `toml:"name"`
	// Allow lists who may use the token, ReadOnly who may use it but not change
	// it: user names, numbers of users, groups with an @, "*" for everybody. If
	// both are empty, everybody who can reach the socket may.
	Allow    []string `toml:"allow"`
	ReadOnly []string `toml:"read-only"`
}

// DefaultSocket is where clients look for the daemon.
const DefaultSocket = "/run/cryptoki/cryptoki.sock"

// DefaultFile is where the configuration is, if none is named.
const DefaultFile = "/etc/cryptoki/cryptoki.toml"

// Load reads a configuration file and checks it.
func Load(path string) (*Config, error) {
	var c Config
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; name tokens with -t, or write the file", err)
	} else if err != nil {
		return nil, err
	}
	var raw map[string]any
	if _, err := toml.Decode(string(text), &raw); err != nil {
		var perr toml.ParseError
		if errors.As(err, &perr) {
			return nil, fmt.Errorf("%s:%d: %s", path, perr.Position.Line, perr.Message)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	err = checkKeys(raw)
	if err == nil {
		if _, err = toml.Decode(string(text), &c); err == nil {
			err = c.Check()
		}
	}
	var f *fault
	if errors.As(err, &f) {
		return nil, fmt.Errorf("%s:%d: %w", path, f.line(string(text)), err)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &c, nil
}

// A fault is something wrong with a configuration, and where: which token, counted
// from 1, 0 for none; which key, and in which value of it.
type fault struct {
	token      int
	key, value string
	text       string
}

func (f *fault) Error() string { return f.text }

// line is the line of the fault, as well as it can be told from the text.
func (f *fault) line(text string) int {
	lines := strings.Split(text, "\n")
	name := func(line string) string {
		n, _, _ := strings.Cut(line, "=")
		return strings.Trim(n, " \t\r\"'[]")
	}
	from := 0
	for i, n := 0, 0; i < len(lines) && n < f.token; i++ {
		if name(lines[i]) == "token" {
			from = i
			n++
		}
	}
	for i := from; i < len(lines); i++ {
		if name(lines[i]) != f.key {
			continue
		}
		for j := i; j < len(lines); j++ { // a list may go on for some lines
			if strings.Contains(lines[j], f.value) {
				return j + 1
			}
		}
		return i + 1
	}
	return from + 1
}

// What the values of keys are. A configuration names them in this order.
const (
	aText   = `text in quotes`
	aNumber = `a number`
	aList   = `a list of texts, such as ["gateway", "@operators"]`
	tables  = `tables: write [[token]] before the keys of each`
)

type keyKind struct{ key, kind string }

var (
	fileKeys  = []keyKind{{"socket", aText}, {"mode", aText}, {"group", aText}, {"metrics", aText}, {"max-connections", aNumber}, {"max-per-user", aNumber}, {"token", tables}}
	tokenKeys = []keyKind{{"name", aText}, {"allow", aList}, {"read-only", aList}}
)

// checkKeys finds keys that are none and values of the wrong kind, in terms of the
// file and not of Go.
func checkKeys(raw map[string]any) error {
	if err := checkTable(raw, fileKeys, 0); err != nil {
		return err
	}
	for i, t := range asTables(raw["token"]) {
		if err := checkTable(t, tokenKeys, i+1); err != nil {
			return err
		}
	}
	return nil
}

func checkTable(table map[string]any, known []keyKind, token int) error {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		i := slices.IndexFunc(known, func(k keyKind) bool { return k.key == key })
		if i < 0 {
			var names []string
			for _, k := range known {
				names = append(names, k.key)
			}
			where := ""
			if token > 0 {
				where = " of a token"
			}
			return &fault{token, key, "", fmt.Sprintf("unknown key %q; the keys%s are %s", key, where, strings.Join(names, ", "))}
		}
		if !isKind(table[key], known[i].kind) {
			return &fault{token, key, "", fmt.Sprintf("%s: want %s", key, known[i].kind)}
		}
	}
	return nil
}

func isKind(v any, kind string) bool {
	ok := false
	switch kind {
	case aText:
		_, ok = v.(string)
	case aNumber:
		_, ok = v.(int64)
	case aList:
		var list []any
		list, ok = v.([]any)
		ok = ok && !slices.ContainsFunc(list, func(e any) bool { return !isKind(e, aText) })
	case tables:
		ok = asTables(v) != nil
	}
	return ok
}

// asTables is an array of tables, in either way to write it; nil for another value.
func asTables(v any) []map[string]any {
	switch v := v.(type) {
	case []map[string]any:
		return v
	case []any:
		list := make([]map[string]any, 0, len(v))
		for _, e := range v {
			t, ok := e.(map[string]any)
			if !ok {
				return nil
			}
			list = append(list, t)
		}
		return list
	}
	return nil
}

// Check fills in defaults, and finds what is wrong.
func (c *Config) Check() error {
	if c.Socket == "" {
		c.Socket = DefaultSocket
	}
	if len(c.Socket) > 107 {
		return &fault{key: "socket", text: fmt.Sprintf("socket %q: the path of a Unix socket has at most 107 bytes", c.Socket)}
	}
	if c.Mode == "" {
		c.Mode = "0600"
		if c.Group != "" {
			c.Mode = "0660"
		}
	}
	if _, err := c.mode(); err != nil {
		return err
	}
	if _, err := c.gid(); err != nil {
		return err
	}
	if c.Metrics != "" {
		host, _, err := net.SplitHostPort(c.Metrics)
		if err != nil {
			return &fault{key: "metrics", text: fmt.Sprintf("metrics %q: want an address such as 127.0.0.1:9469", c.Metrics)}
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return &fault{key: "metrics", text: fmt.Sprintf("metrics %q: only a loopback address, such as 127.0.0.1, is served", c.Metrics)}
		}
	}
	for key, n := range map[string]int{"max-connections": c.MaxConnections, "max-per-user": c.MaxPerUser} {
		if n < 0 {
			return &fault{key: key, text: fmt.Sprintf("%s %d: want at least 1, or leave it out", key, n)}
		}
	}
	if len(c.Tokens) == 0 {
		return errors.New("no token is named: there is nothing to serve; write [[token]] and its name")
	}
	for i, t := range c.Tokens {
		if t.Name == "" {
			return &fault{i + 1, "token", "", fmt.Sprintf("token %d has no name", i+1)}
		}
		if slices.ContainsFunc(c.Tokens[:i], func(u Token) bool { return u.Name == t.Name }) {
			return &fault{i + 1, "name", t.Name, fmt.Sprintf("token %q is named twice; take one out", t.Name)}
		}
		for _, list := range []struct {
			key  string
			list []string
		}{{"allow", t.Allow}, {"read-only", t.ReadOnly}} {
			for _, who := range list.list {
				if _, err := parseRule(who); err != nil {
					return &fault{i + 1, list.key, who, fmt.Sprintf("token %q: %s: %v; correct it, or take it out", t.Name, list.key, err)}
				}
			}
		}
	}
	return nil
}

func (c *Config) mode() (fs.FileMode, error) {
	m, err := strconv.ParseUint(c.Mode, 8, 32)
	if err != nil || m > 0o777 {
		return 0, &fault{key: "mode", text: fmt.Sprintf("mode %q: want octal permissions, such as 0660", c.Mode)}
	}
	return fs.FileMode(m), nil
}

func (c *Config) gid() (int, error) {
	if c.Group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(c.Group)
	if err != nil {
		return 0, &fault{key: "group", text: fmt.Sprintf("group %q: there is none of that name; make it with groupadd, or take it out", c.Group)}
	}
	return strconv.Atoi(g.Gid)
}

// A rule is one entry of Allow or ReadOnly.
type rule struct {
	all   bool
	uid   int // -1 in a rule about a group
	group string
}

func parseRule(s string) (rule, error) {
	switch {
	case s == "*":
		return rule{all: true}, nil
	case strings.HasPrefix(s, "@"):
		g, err := user.LookupGroup(s[1:])
		if err != nil {
			return rule{}, fmt.Errorf("there is no group %q", s[1:])
		}
		return rule{uid: -1, group: g.Gid}, nil
	}
	if uid, err := strconv.ParseUint(s, 10, 32); err == nil {
		return rule{uid: int(uid)}, nil
	}
	u, err := user.Lookup(s)
	if err != nil {
		return rule{}, fmt.Errorf("there is no user %q", s)
	}
	uid, err := strconv.Atoi(u.Uid)
	return rule{uid: uid}, err
}

// An access is what a peer may do with a token.
type access int

const (
	noAccess access = iota
	readOnly
	full
)

// access tells what peer may do. A rule whose user or group is gone lets nobody
// in.
func (t *Token) access(peer rpc.Peer) access {
	switch {
	case len(t.Allow) == 0 && len(t.ReadOnly) == 0, matches(t.Allow, peer):
		return full
	case matches(t.ReadOnly, peer):
		return readOnly
	}
	return noAccess
}

func matches(rules []string, peer rpc.Peer) bool {
	var groups []string
	for _, s := range rules {
		r, err := parseRule(s)
		switch {
		case err != nil:
		case r.all, peer.Known && r.group == "" && r.uid == peer.UID:
			return true
		case peer.Known && r.group != "":
			if groups == nil {
				groups = []string{strconv.Itoa(peer.GID)}
				if u, err := user.LookupId(strconv.Itoa(peer.UID)); err == nil {
					more, _ := u.GroupIds()
					groups = append(groups, more...)
				}
			}
			if slices.Contains(groups, r.group) {
				return true
			}
		}
	}
	return false
}

// listen makes the socket.
func (c *Config) listen() (net.Listener, error) {
	mode, err := c.mode()
	if err != nil {
		return nil, err
	}
	gid, err := c.gid()
	if err != nil {
		return nil, err
	}
	if fi, err := os.Lstat(c.Socket); err == nil {
		if fi.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("socket %s: there is a file of that name which is no socket; remove it", c.Socket)
		}
		// Left over, or somebody's?
		if conn, err := net.Dial("unix", c.Socket); err == nil {
			conn.Close()
			return nil, fmt.Errorf("socket %s: another process serves on it; stop it first", c.Socket)
		}
		os.Remove(c.Socket)
	}
	old := umask(0o177) // nobody gets in before the permissions are set
	l, err := net.Listen("unix", c.Socket)
	umask(old)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("socket: %w; make its directory, or set RuntimeDirectory= in the unit", err)
		}
		return nil, fmt.Errorf("socket: %w", err)
	}
	if gid >= 0 {
		err = os.Chown(c.Socket, -1, gid)
	}
	if err == nil {
		err = os.Chmod(c.Socket, mode)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("socket %s: %w", c.Socket, err)
	}
	return l, nil
}
