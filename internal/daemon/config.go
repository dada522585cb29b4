// Package daemon is what "cryptoki serve" runs: one process that owns tokens,
// and serves them to the programs of a machine by p11-kit's protocol.
package daemon

import (
	"errors"
	"fmt"
	"io/fs"
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
	// MaxConnections and MaxPerUser limit the clients; 0 for the defaults of
	// package rpc.
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
	meta, err := toml.Decode(string(text), &c)
	if err != nil {
		var perr toml.ParseError
		if errors.As(err, &perr) {
			return nil, fmt.Errorf("%s:%d: %s", path, perr.Position.Line, perr.Message)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("%s:%d: unknown key %q", path, lineOf(string(text), unknown[0]), unknown[0].String())
	}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &c, nil
}

// lineOf is the first line that gives the key a value or is a table of its name,
// the first of all if there is none such.
func lineOf(text string, key toml.Key) int {
	last := key[len(key)-1]
	for i, line := range strings.Split(text, "\n") {
		name, _, _ := strings.Cut(strings.Trim(strings.TrimSpace(line), "["), "=")
		name, _, _ = strings.Cut(name, "]")
		name = strings.Trim(strings.TrimSpace(name), `"'`)
		if name == last || strings.HasSuffix(name, "."+last) {
			return i + 1
		}
	}
	return 1
}

// Check fills in defaults, and finds what is wrong.
func (c *Config) Check() error {
	if c.Socket == "" {
		c.Socket = DefaultSocket
	}
	if len(c.Socket) > 107 {
		return fmt.Errorf("socket %q: the path of a Unix socket has at most 107 bytes", c.Socket)
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
			return fmt.Errorf("metrics %q: want an address such as 127.0.0.1:9469", c.Metrics)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("metrics %q: only a loopback address, such as 127.0.0.1, is served", c.Metrics)
		}
	}
	if len(c.Tokens) == 0 {
		return errors.New("no token is named: there is nothing to serve")
	}
	for i, t := range c.Tokens {
		if t.Name == "" {
			return fmt.Errorf("token %d has no name", i+1)
		}
		if slices.ContainsFunc(c.Tokens[:i], func(u Token) bool { return u.Name == t.Name }) {
			return fmt.Errorf("token %q is named twice", t.Name)
		}
		for _, list := range [][]string{t.Allow, t.ReadOnly} {
			for _, who := range list {
				if _, err := parseRule(who); err != nil {
					return fmt.Errorf("token %q: %w", t.Name, err)
				}
			}
		}
	}
	return nil
}

func (c *Config) mode() (fs.FileMode, error) {
	m, err := strconv.ParseUint(c.Mode, 8, 32)
	if err != nil || m > 0o777 {
		return 0, fmt.Errorf("mode %q: want octal permissions, such as 0660", c.Mode)
	}
	return fs.FileMode(m), nil
}

func (c *Config) gid() (int, error) {
	if c.Group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(c.Group)
	if err != nil {
		return 0, fmt.Errorf("group %q: there is none of that name", c.Group)
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
