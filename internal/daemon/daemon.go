package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/go-cryptoki/cryptoki/rpc"
)

// drainTime is how long calls under way have at the end. systemd waits longer.
const drainTime = 20 * time.Second

// A Daemon serves tokens.
type Daemon struct {
	log     *slog.Logger
	metrics metrics

	mu     sync.Mutex
	config *Config
	tokens []*served
}

// served is a token that is open, and how many clients use it.
type served struct {
	name string
	// module is shared between clients; nil for one in another process, of which
	// each client gets one of its own.
	module cryptoki.Module
	token  driver.Token

	clients int
	retired bool // not in the configuration any more: closed with its last client
}

// New opens the tokens of the configuration, which Check has passed. A token that
// does not open is an error: the daemon's supervisor tries again.
func New(ctx context.Context, c *Config, log *slog.Logger) (*Daemon, error) {
	d := &Daemon{log: log, config: c}
	d.metrics.init()
	for _, t := range c.Tokens {
		s, err := open(ctx, t.Name)
		if err != nil {
			d.closeAll()
			return nil, err
		}
		d.tokens = append(d.tokens, s)
	}
	return d, nil
}

func open(ctx context.Context, name string) (*served, error) {
	params, err := driver.ParseName(name)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(driver.Schemes(), params.Scheme) {
		// Only to see that it opens.
		m, err := cryptoki.OpenModule(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("token %q: %w", name, err)
		}
		m.Close()
		return &served{name: name}, nil
	}
	token, err := driver.OpenParams(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("token %q: %w", name, err)
	}
	m, err := cryptoki.NewModule(nil, token)
	if err != nil {
		token.Close()
		return nil, fmt.Errorf("token %q: %w", name, err)
	}
	return &served{name: name, module: m, token: token}, nil
}

func (s *served) close() {
	if s.module != nil {
		s.module.Close()
	}
}

func (d *Daemon) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.tokens {
		s.close()
	}
	d.tokens = nil
}

// Reload takes another configuration: tokens that are new are opened, tokens
// that are gone serve the clients they have and are closed then, and clients that
// come from now on are under the new rules. The socket and the metrics stay what
// they are. After an error everything is as before.
func (d *Daemon) Reload(ctx context.Context, c *Config) error {
	tokens := make([]*served, len(c.Tokens)) // nil for those to be opened
	d.mu.Lock()
	for i, t := range c.Tokens {
		if j := slices.IndexFunc(d.tokens, func(s *served) bool { return s.name == t.Name }); j >= 0 {
			// One that was to be closed with its last client stays: the device
			// may not open a second time.
			tokens[i] = d.tokens[j]
			tokens[i].clients++ // so that it is not closed meanwhile
		}
	}
	d.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(tokens), func(s *served) bool { return s == nil })
	var opened []*served
	for i, t := range c.Tokens {
		if tokens[i] != nil {
			continue
		}
		s, err := open(ctx, t.Name)
		if err != nil {
			for _, s := range opened {
				s.close()
			}
			for _, s := range kept {
				d.leave(s)
			}
			return err
		}
		tokens[i], opened = s, append(opened, s)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range kept {
		s.clients--
		s.retired = false
	}
	for _, s := range d.tokens {
		if slices.Contains(kept, s) {
			continue
		}
		s.retired = true
		if s.clients == 0 {
			s.close()
		} else {
			tokens = append(tokens, s) // closed with its last client
		}
	}
	d.config, d.tokens = c, tokens
	return nil
}

// application is the module for one client.
func (d *Daemon) application(ctx context.Context, peer rpc.Peer) (cryptoki.Module, error) {
	d.mu.Lock()
	type grant struct {
		*served
		access access
	}
	var grants []grant
	for _, t := range d.config.Tokens {
		a := t.access(peer)
		i := slices.IndexFunc(d.tokens, func(s *served) bool { return s.name == t.Name && !s.retired })
		if a != noAccess && i >= 0 {
			grants = append(grants, grant{d.tokens[i], a})
			d.tokens[i].clients++
		}
	}
	d.mu.Unlock()
	v := &view{}
	v.done = sync.OnceFunc(func() {
		for _, g := range grants {
			d.leave(g.served)
		}
	})
	for _, g := range grants {
		var m cryptoki.Module
		var err error
		if g.module != nil {
			opts := &cryptoki.ApplicationOptions{}
			if peer.Known {
				opts.Party = peer.PID
			}
			m, err = cryptoki.NewApplication(g.module, opts)
		} else {
			m, err = cryptoki.OpenModule(ctx, g.name)
		}
		if err == nil {
			v.modules = append(v.modules, m)
			var ids []pkcs11.SlotID
			ids, err = m.Slots(ctx, false)
			for _, id := range ids {
				v.slots = append(v.slots, viewSlot{m, id, g.access == readOnly})
			}
		}
		if err != nil {
			v.Close()
			return nil, fmt.Errorf("token %q: %w", g.name, err)
		}
	}
	return v, nil
}

func (d *Daemon) leave(s *served) {
	d.mu.Lock()
	s.clients--
	gone := s.retired && s.clients == 0
	if gone {
		d.tokens = slices.DeleteFunc(d.tokens, func(o *served) bool { return o == s })
	}
	d.mu.Unlock()
	if gone {
		s.close()
	}
}

// Run serves until ctx ends, then lets the calls under way finish. hup asks for
// the configuration anew, which load reads.
func (d *Daemon) Run(ctx context.Context, hup <-chan struct{}, load func() (*Config, error)) error {
	defer d.closeAll()
	l, activated, err := d.listener()
	if err != nil {
		return err
	}
	server := rpc.NewServer(nil, &rpc.Options{
		Application:    d.application,
		MaxConnections: d.config.MaxConnections,
		MaxPerPeer:     d.config.MaxPerUser,
		Log:            d.log,
		Observe:        d.observe,
	})
	d.metrics.connections = server.Connections
	defer server.Close()
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(l) }()
	if d.config.Metrics != "" {
		ml, err := net.Listen("tcp", d.config.Metrics)
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		defer ml.Close()
		go d.serveMetrics(ml)
		d.log.Info("metrics", "address", ml.Addr().String())
	}
	d.log.Info("serving", "socket", l.Addr().String(), "activated", activated, "tokens", len(d.config.Tokens))
	notify(d.log, sd.SdNotifyReady)

	var watchdog <-chan time.Time
	if every, err := sd.SdWatchdogEnabled(false); err == nil && every > 0 {
		tick := time.NewTicker(every / 3)
		defer tick.Stop()
		watchdog = tick.C
	}
	for {
		select {
		case <-ctx.Done():
			notify(d.log, sd.SdNotifyStopping)
			d.log.Info("stopping", "clients", server.Connections())
			end, cancel := context.WithTimeout(context.Background(), drainTime)
			defer cancel()
			if err := server.Shutdown(end); err != nil {
				d.log.Warn("calls under way were cancelled", "after", drainTime)
			}
			return nil
		case err := <-serving:
			if errors.Is(err, rpc.ErrServerClosed) {
				return nil
			}
			return err
		case <-hup:
			notify(d.log, sd.SdNotifyReloading+"\n"+sd.SdNotifyMonotonicUsec())
			c, err := load()
			if err == nil {
				err = d.Reload(ctx, c)
			}
			if err != nil {
				d.log.Error("the configuration stays as it was", "error", err)
			} else {
				d.log.Info("configuration reloaded", "tokens", len(c.Tokens))
			}
			notify(d.log, sd.SdNotifyReady)
		case <-watchdog:
			if err := alive(l.Addr()); err != nil {
				d.log.Error("the daemon does not answer itself", "error", err)
			} else {
				notify(d.log, sd.SdNotifyWatchdog)
			}
		}
	}
}

// listener is the socket that systemd passes, or one of our own.
func (d *Daemon) listener() (l net.Listener, activated bool, err error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, false, fmt.Errorf("the sockets that systemd passes: %w", err)
	}
	switch {
	case len(passed) == 1 && passed[0] != nil:
		return passed[0], true, nil
	case len(passed) > 0:
		return nil, false, fmt.Errorf("systemd passes %d sockets; the unit must have one stream socket", len(passed))
	}
	l, err = d.config.listen()
	return l, false, err
}

func notify(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("cannot notify systemd", "error", err)
	}
}

// alive asks the daemon something through its own socket.
func alive(addr net.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := rpc.Dial(ctx, addr.String(), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Info(ctx)
	return err
}

// observe counts a call, and logs it: those that fail to log in for everybody to
// see, the others for who looks closely.
func (d *Daemon) observe(c rpc.Call) {
	d.metrics.count(c)
	level := slog.LevelDebug
	if c.Code == pkcs11.CKR_PIN_INCORRECT || c.Code == pkcs11.CKR_PIN_LOCKED {
		level = slog.LevelWarn
	}
	if d.log.Enabled(context.Background(), level) {
		code := "CKR_OK"
		if c.Code != 0 {
			code = c.Code.Error()
		}
		d.log.Log(context.Background(), level, "call", "name", c.Name, "peer", c.Peer.String(), "code", code, "duration", c.Duration)
	}
}
