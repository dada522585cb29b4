package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
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

// openTime is how long a client that may use several tokens waits for the modules
// among them that are in other processes.
const openTime = 10 * time.Second

// A Daemon serves tokens.
type Daemon struct {
	log      *slog.Logger
	metrics  metrics
	openTime time.Duration

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
	d := &Daemon{log: log, config: c, openTime: openTime}
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
	// A module in another process may be slow, hang or be broken. The other tokens
	// are there all the same.
	if len(grants) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.openTime)
		defer cancel()
	}
	type opened struct {
		module cryptoki.Module
		ids    []pkcs11.SlotID
		err    error
	}
	list := make([]opened, len(grants))
	var opening sync.WaitGroup
	for i, g := range grants {
		open := func() {
			o := &list[i]
			if g.module != nil {
				opts := &cryptoki.ApplicationOptions{}
				if peer.Known {
					opts.Party = peer.PID
				}
				o.module, o.err = cryptoki.NewApplication(g.module, opts)
			} else {
				o.module, o.err = cryptoki.OpenModule(ctx, g.name)
			}
			if o.err == nil {
				o.ids, o.err = o.module.Slots(ctx, false)
			}
		}
		if g.module != nil {
			open()
		} else {
			opening.Go(open)
		}
	}
	opening.Wait()
	for i, o := range list {
		g := grants[i]
		if o.module != nil {
			v.modules = append(v.modules, o.module)
		}
		for _, id := range o.ids {
			v.slots = append(v.slots, viewSlot{o.module, id, g.access == readOnly})
		}
		if o.err == nil {
			continue
		}
		broken := fmt.Errorf("token %q: %w", g.name, o.err)
		if g.module != nil || len(grants) == 1 {
			v.Close()
			return nil, broken
		}
		d.log.Warn("a token is left out for a client", "peer", peer.String(), "error", broken)
		v.slots = append(v.slots, viewSlot{absent{}, 1, g.access == readOnly})
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
	// A reload may wait for a device, and must not keep the watchdog waiting.
	reloaded := make(chan struct{}, 1)
	next := hup
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
			if next == nil {
				<-reloaded
			}
			return nil
		case err := <-serving:
			if errors.Is(err, rpc.ErrServerClosed) {
				return nil
			}
			return err
		case <-next:
			next = nil
			notify(d.log, sd.SdNotifyReloading+"\n"+sd.SdNotifyMonotonicUsec())
			go func() {
				d.reload(ctx, load)
				reloaded <- struct{}{}
			}()
		case <-reloaded:
			next = hup
			notify(d.log, sd.SdNotifyReady)
		case <-watchdog:
			if err := alive(l.Addr(), 5*time.Second); err != nil {
				d.log.Error("the daemon does not answer itself", "error", err)
			} else {
				notify(d.log, sd.SdNotifyWatchdog)
			}
		}
	}
}

// reload reads the configuration again, and says in the log what came of it.
func (d *Daemon) reload(ctx context.Context, load func() (*Config, error)) {
	d.mu.Lock()
	before := d.config
	d.mu.Unlock()
	c, err := load()
	if err == nil {
		err = d.Reload(ctx, c)
	}
	if err != nil {
		d.log.Error("the configuration stays as it was", "error", err)
		return
	}
	d.log.Info("configuration reloaded", "tokens", len(c.Tokens))
	for _, key := range []struct {
		name    string
		changed bool
	}{
		{"socket", c.Socket != before.Socket},
		{"mode", c.Mode != before.Mode},
		{"group", c.Group != before.Group},
		{"metrics", c.Metrics != before.Metrics},
		{"max-connections", c.MaxConnections != before.MaxConnections},
		{"max-per-user", c.MaxPerUser != before.MaxPerUser},
	} {
		if key.changed {
			d.log.Warn("a changed key needs a restart of the daemon", "key", key.name)
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

// alive asks the daemon through its own socket whether it serves: whether it takes a
// connection and says which version it speaks. It becomes no client, for which
// modules in other processes would be started. A daemon that closes the connection,
// because it has as many as it may, serves.
func alive(addr net.Addr, patience time.Duration) error {
	c, err := net.DialTimeout("unix", addr.String(), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	hello := []byte{0}
	if _, err = c.Write(hello); err == nil {
		_, err = c.Read(hello)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
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
