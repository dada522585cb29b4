package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-cryptoki/cryptoki/internal/daemon"
)

var serveCommand = command{
	name:    "serve",
	summary: "serve tokens to the programs of this machine",
	about: `One process owns the tokens, an I²C bus or a TPM with them, and programs reach
them through a Unix socket by p11-kit's protocol: C programs by loading
p11-kit-client.so with P11_KIT_SERVER_ADDRESS=unix:path=SOCKET, Go programs by the
token name unix:path=SOCKET. Each program logs in by itself. Which user may use
which token, and whether only to read, is in the configuration file, in TOML:

    socket = "/run/cryptoki/cryptoki.sock"
    group = "cryptoki"             # may connect; mode = "0660" says the same
    metrics = "127.0.0.1:9469"     # for Prometheus; none without it

    [[token]]
    name = "tpm:device=/dev/tpmrm0;dir=/var/lib/cryptoki/tpm"
    allow = ["gateway", "@operators"]
    read-only = ["mosquitto"]

Tokens without allow and read-only are for everybody who can reach the socket.
SIGTERM lets the calls under way finish, SIGHUP reads the file again. Under systemd
the socket may be passed by a socket unit, and readiness, reloading and the
watchdog are reported; docs/serve.md has the units.`,
	local: true,
	example: []example{
		{"", "cryptoki serve -t soft:dir=/var/lib/gateway/token --socket /run/user/1000/cryptoki.sock"},
		{"a C program that uses it", "P11_KIT_SERVER_ADDRESS=unix:path=/run/user/1000/cryptoki.sock pkcs11-tool --module /usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so -O"},
	},
	flags: func(o *options) runFunc {
		c := serve{level: "info", format: "text"}
		o.strs(&c.tokens, "token,t", "NAME", "serve this token, in place of a configuration file")
		o.str(&c.config, "config", "FILE", "the configuration file (default: "+daemon.DefaultFile+")")
		o.str(&c.socket, "socket", "PATH", "listen here, whatever the configuration says")
		o.choice(&c.level, "log-level", []string{"debug", "info", "warn", "error"}, "what is logged: debug has a line for each call, without its data")
		o.choice(&c.format, "log-format", []string{"text", "json"}, "how the log on standard error looks")
		return c.run
	},
}

type serve struct {
	tokens                        []string
	config, socket, level, format string
}

func (c *serve) run(ctx context.Context, a *app, _ []string) error {
	if len(c.tokens) > 0 && c.config != "" {
		return usagef("--token %s: the tokens are those of --config %s; give one of the two", c.tokens[0], c.config)
	} else if c.config == "" {
		c.config = daemon.DefaultFile
	}
	// One that comes before the daemon is ready is for later.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	load := func() (*daemon.Config, error) {
		var conf *daemon.Config
		var err error
		if len(c.tokens) > 0 {
			conf = &daemon.Config{Socket: c.socket}
			for _, name := range c.tokens {
				conf.Tokens = append(conf.Tokens, daemon.Token{Name: name})
			}
			err = conf.Check()
		} else if conf, err = daemon.Load(c.config); err == nil && c.socket != "" {
			conf.Socket = c.socket
			err = conf.Check()
		}
		return conf, err
	}
	conf, err := load()
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.level)); err != nil {
		return usagef("--log-level: %v", err)
	}
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(a.stderr, opts)
	if c.format == "json" {
		h = slog.NewJSONHandler(a.stderr, opts)
	}
	d, err := daemon.New(ctx, conf, slog.New(h))
	if err != nil {
		return err
	}
	reload := make(chan struct{})
	go func() {
		for {
			select {
			case <-hup:
				select {
				case reload <- struct{}{}:
				case <-ctx.Done():
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return d.Run(ctx, reload, load)
}
