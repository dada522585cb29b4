// Package tpm is a token in a TPM 2.0: private keys are born in the TPM, or
// imported into it, and never leave it in the clear.
//
//	store, err := fileflash.Open("/var/lib/gateway/tpm", nil)
//	token, err := tpm.New(ctx, nil, store, &tpm.Options{Dial: tpm.Device("/dev/tpmrm0")})
//
// As a token name it is tpm:device=/dev/tpmrm0;dir=PATH.
//
// # What is where
//
// A key is a blob that the TPM's storage root key encrypts, in a record of the
// store; the TPM loads it to use it. On request it is made persistent in the TPM,
// which is faster by a few commands and takes room there. Certificates, public
// keys, labels are in the store. A store that cannot be written serves to sign.
//
// # What protects it
//
// Every key has the same authorization value, the token secret of 192 bits,
// which the TPM seals under the SO's and the user's PIN, and releases only to
// who knows one of them. Wrong PINs are counted by the TPM itself, for all that
// use it together (the dictionary attack counter), and it locks after as many as
// it is set to. A copy of the records is of no use without the TPM.
//
// Between processor and TPM nothing secret goes in the clear: see BusProtection.
// Each signature is verified before it is returned.
package tpm

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Limits of a token.
const (
	MinPIN = 4  // bytes of a PIN
	MaxPIN = 64 // bytes of a PIN

	maxLabel = 32 // bytes of a token's label
)

// BusProtection is how commands are protected on their way to the TPM.
type BusProtection int

const (
	// BusFull is the default: commands and responses are authenticated, and what
	// is secret in them is encrypted, with sessions that an observer of the bus
	// cannot read and nobody on it can change. It costs a session that is loaded.
	BusFull BusProtection = iota
	// BusNone sends the token secret as a password when a key is used, for a TPM
	// in the firmware, or a board nobody can get at. PINs, new keys and derived
	// secrets are encrypted all the same.
	BusNone
)

// Options are how a token is opened. The zero value is the default.
type Options struct {
	// Dial opens a connection to the TPM: Device, Swtpm, or one of the caller's
	// own. With it the token heals when the connection breaks. It is called from
	// any goroutine.
	Dial Dialer
	// Channels is how many connections are used at once, 1 to 8. More than one,
	// the default, is of use on a resource manager only, where each has room for
	// keys of its own; a TPM without one has a single connection.
	Channels int
	// BusProtection is full by default.
	BusProtection BusProtection
	// NoPIN makes InitToken make a token whose user needs no PIN. The token
	// secret is then in the store in the clear: whoever can read the store and use
	// the TPM can use the keys, and nobody can take them away.
	NoPIN bool
	// Persist makes new private keys of the token persistent in the TPM, as
	// Token.Persist does. When there is no room for one more, that is an error.
	Persist bool
	// Parent is the handle of the storage key, 0x81000001 by default. InitToken
	// makes that one, and no other, if it is not there.
	Parent uint32
	// OwnerAuth is the authorization value of the TPM's owner, for InitToken if it
	// has to make the storage root key, and for persistent keys. It is empty on
	// most TPMs, and is not kept in the store.
	OwnerAuth []byte
	// EndorsementAuth is the authorization value of the TPM's endorsement
	// hierarchy, for AnswerChallenge, and for Attest on a TPM without endorsement
	// certificate. It is empty on most TPMs, and is not kept in the store.
	EndorsementAuth []byte
	// LastTry allows to check a PIN although one more wrong one would lock the
	// TPM. The default is to refuse with CKR_PIN_LOCKED and say when there will be
	// another try.
	LastTry bool
	// Simulated allows a TPM in software, such as swtpm, whose keys are files that
	// anybody may copy who can read them.
	Simulated bool
	// Iterations is how often PBKDF2 stretches a new PIN, 20000 by default. That
	// only slows down who has taken the TPM along: the TPM counts tries.
	Iterations int
	// AcceptObjects takes the objects that are in the store for the token's, although
	// they are not those of its inventory: some are missing, or older ones are back.
	// The next change makes that last.
	AcceptObjects bool
	// Log hears what is worth knowing and no error, such as that the TPM was
	// reset: the WarnContext of a slog.Logger is one. The default is silence.
	Log func(ctx context.Context, msg string, args ...any)

	clock func() time.Time                           // for tests
	sleep func(context.Context, time.Duration) error // for tests
}

// A Token is a token in a TPM. It is safe for concurrent use: what the TPM does
// waits for the channel that does it.
type Token struct {
	opts    Options
	store   pal.Store
	locker  pal.Locker // nil if the store is none; likewise watcher
	watcher pal.Watcher
	closer  io.Closer // what open opened
	pool    pool

	// What was found out when the token was opened.
	srk       atomic.Pointer[parent] // nil: none yet
	abilities *abilities
	table     []driver.Mechanism
	managed   atomic.Bool // there is a resource manager
	bare      atomic.Bool // there is none; while neither is set, nobody knows
	foreign   atomic.Bool // the storage root key is not ours
	lockout   atomic.Pointer[lockout]
	names     sync.Map // Names, as strings, of what this process has loaded

	// Locks are taken in this order: pins, a channel's turn, io, mu.

	pins sync.Mutex // one PIN is checked or set at a time

	io     sync.Mutex // held while the store is used; guards seen and reread
	seen   uint64     // what watcher said when the objects were read
	reread bool       // the token's record may be another one
	seq    uint64     // of the newest object
	noted  []uint32   // sessions in the record of sessions that are ours

	loaded atomic.Bool   // objects are those of the store, for whoever is logged in
	others atomic.Uint64 // counts changes by others

	mu       sync.RWMutex
	rec      *tokenRecord // nil: not initialized
	readOnly bool         // the store said so
	closed   bool
	keys     *keyring // nil: nobody is logged in
	role     role
	process  []byte // authorization value of session keys
	objects  map[objectID]*object
	ordered  []*object // the same in the order of creation; nil: to be made
	session  map[*object]struct{}
	records  map[string]*bundle // of the store
	stale    []string           // records of objects that were the token's before it was initialized anew
	stock    []objectState      // of the objects that should be there, in a token with inventory
	damage   []error            // about records that are not in objects

	info atomic.Pointer[driver.Info]
}

// role is who is logged in.
type role byte

const (
	nobody role = iota
	soRole
	userRole
)

var _ interface {
	driver.Token
	driver.Concurrent
	driver.Changer
	driver.KeyPairGenerator
	driver.KeyGenerator
	driver.Creator
	driver.Destroyer
	driver.Updater
	driver.RandomReader
	driver.Authenticator
	driver.PINSetter
	driver.Initializer
	driver.Prober
} = (*Token)(nil)

// New returns the token that store holds, with its keys in a TPM: one that is
// not initialized if store is empty. tpm is a connection to the TPM, or nil if
// opts.Dial makes it; it is used by one goroutine at a time. Both are the token's
// until Close, and stay open then. opts may be nil.
//
// New asks the TPM what it is, at most four commands if the store knows what it
// can do, and removes what a process that died has left in it. If the TPM is not
// the one that the token's keys are in, the token opens all the same, shows what
// there is, and answers CKR_TOKEN_NOT_RECOGNIZED to what needs the TPM.
func New(ctx context.Context, tpm transport.TPM, store pal.Store, opts *Options) (*Token, error) {
	t := &Token{
		store:   store,
		objects: make(map[objectID]*object),
		session: make(map[*object]struct{}),
		process: newSecret(),
	}
	if opts != nil {
		t.opts = *opts
	}
	o := &t.opts
	if o.Iterations == 0 {
		o.Iterations = 20_000
	}
	if o.Parent == 0 {
		o.Parent = srkHandle
	}
	if o.Channels == 0 {
		o.Channels = 1
	}
	switch {
	case tpm == nil && o.Dial == nil:
		return nil, fmt.Errorf("tpm: %w: neither a connection to the TPM nor Options.Dial", pkcs11.CKR_ARGUMENTS_BAD)
	case o.Channels < 1 || o.Channels > 8 || o.Channels > 1 && o.Dial == nil:
		return nil, fmt.Errorf("tpm: %w: %d channels; there are 1 to 8, and 1 without Options.Dial", pkcs11.CKR_ARGUMENTS_BAD, o.Channels)
	case o.Iterations < 1 || o.Iterations > maxIterations:
		return nil, fmt.Errorf("tpm: %w: %d iterations; there are 1 to %d", pkcs11.CKR_ARGUMENTS_BAD, o.Iterations, maxIterations)
	case o.Parent>>24 != 0x81:
		return nil, fmt.Errorf("tpm: %w: %#x is not the handle of a persistent key, 0x81……", pkcs11.CKR_ARGUMENTS_BAD, o.Parent)
	case o.BusProtection != BusFull && o.BusProtection != BusNone:
		return nil, fmt.Errorf("tpm: %w: bus protection %d", pkcs11.CKR_ARGUMENTS_BAD, o.BusProtection)
	}
	t.locker, _ = store.(pal.Locker)
	t.watcher, _ = store.(pal.Watcher)
	for i := range o.Channels {
		if i == 0 {
			t.pool.add(t, tpm)
		} else {
			t.pool.add(t, nil)
		}
	}
	if err := t.openStore(); err != nil {
		return nil, err
	}
	if err := t.with(ctx, nil, (*channel).open); err != nil {
		t.pool.close()
		return nil, err
	}
	t.mu.Lock()
	t.publish()
	t.mu.Unlock()
	return t, nil
}

// openStore reads the token's record.
func (t *Token) openStore() error {
	t.io.Lock()
	defer t.io.Unlock()
	if t.watcher != nil {
		seen, err := t.watcher.Changes()
		if err != nil {
			return storeError("changes", err)
		}
		t.seen = seen
	}
	return t.loadToken()
}

// open finds out what the TPM is and whether it is the right one.
func (c *channel) open() error {
	t := c.t
	if c.tpm == nil {
		if err := c.connect(); err != nil {
			return failed("open the TPM", err)
		}
	}
	props, err := c.properties(ptFixed, ptVariable-1)
	if errors.Is(err, tpmInitialize) {
		if err = c.startup(); err == nil {
			props, err = c.properties(ptFixed, ptVariable-1)
		}
	}
	if err != nil {
		return err
	}
	state, err := c.properties(ptVariable, ptLockoutRecovery)
	if err != nil {
		return err
	}
	f := firmwareOf(props)
	if f.simulated() && !t.opts.Simulated {
		return fmt.Errorf("tpm: %v is a TPM in software, whose keys are files; allow it with simulated=true: %w", f, pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
	}
	t.lockout.Store(lockoutOf(state))
	if t.rec != nil {
		t.opts.Parent = t.rec.parent
	}
	srk, err := c.readSRK(t.opts.Parent)
	if err != nil {
		return err
	}
	t.srk.Store(srk)
	if t.rec != nil && (srk == nil || !bytes.Equal(srk.name, t.rec.srkName)) {
		t.foreign.Store(true)
	}
	if t.abilities = t.knownAbilities(f); t.abilities == nil {
		if t.abilities, err = c.probe(props); err != nil {
			return err
		}
		if t.rec != nil {
			t.saveAbilities()
		}
	}
	t.table = t.abilities.mechanisms()
	if t.foreign.Load() {
		return nil
	}
	if err := c.settle(); err != nil {
		return err
	}
	c.settlePersistent()
	return nil
}

// Concurrent says that the methods may be called from several goroutines.
func (t *Token) Concurrent() {}

// Info describes the token as it was last read: by New, by a search, or when a
// PIN was checked.
func (t *Token) Info() driver.Info { return *t.info.Load() }

// Mechanisms returns what this TPM can do, and what is made of it in software.
func (t *Token) Mechanisms() []driver.Mechanism { return t.table }

// publish makes what Info returns. t.mu is held.
func (t *Token) publish() {
	i := driver.Info{
		ManufacturerID:  "go-cryptoki",
		Model:           "TPM 2.0",
		MaxSessions:     pkcs11.EffectivelyInfinite,
		MinPINLen:       MinPIN,
		MaxPINLen:       MaxPIN,
		Hardware:        true,
		SlotDescription: "TPM 2.0",
		FirmwareVersion: pkcs11.Version{Major: version},
	}
	if a := t.abilities; a != nil {
		i.SlotDescription = cut("TPM 2.0: "+a.firmware.String(), 64)
		if name := text(a.firmware.manufacturer[:]); name != "" {
			i.Model = cut("TPM 2.0 "+name, 16)
		}
		i.HardwareVersion = pkcs11.Version{Major: byte(min(a.firmware.version>>48, 255)), Minor: byte(min(a.firmware.version>>32&0xffff, 255))}
		i.Hardware = !a.firmware.simulated()
	}
	if t.readOnly {
		i.Flags |= pkcs11.CKF_WRITE_PROTECTED
	}
	if t.rec == nil {
		i.Flags |= pkcs11.CKF_LOGIN_REQUIRED
	}
	if r := t.rec; r != nil {
		i.Label = r.label
		i.SerialNumber = hex.EncodeToString(r.serial[:])
		i.Flags |= pkcs11.CKF_TOKEN_INITIALIZED
		switch {
		case r.flags&flagNoPIN != 0:
		case r.flags&flagUserPIN != 0:
			i.Flags |= pkcs11.CKF_LOGIN_REQUIRED | pkcs11.CKF_USER_PIN_INITIALIZED
		default:
			i.Flags |= pkcs11.CKF_LOGIN_REQUIRED
		}
		if l := t.lockout.Load(); l != nil {
			i.Flags |= l.flags()
		}
	}
	t.info.Store(&i)
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// Changes counts the changes by other processes.
func (t *Token) Changes() (uint64, error) {
	if t.watcher == nil {
		return 0, nil
	}
	if t.io.TryLock() {
		defer t.io.Unlock()
		if err := t.watch(); err != nil {
			return 0, err
		}
	}
	return t.others.Load(), nil
}

// Objects returns the token objects: public ones always, private ones if the
// user is logged in or the token has no PIN. If records are damaged, the error
// names them, and the objects that are in order are returned too.
func (t *Token) Objects(ctx context.Context) ([]driver.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.io.Lock()
	err := t.refresh(false)
	t.io.Unlock()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ordered == nil {
		t.ordered = make([]*object, 0, len(t.objects))
		for _, o := range t.objects {
			if !o.private || t.mayUsePrivate() {
				t.ordered = append(t.ordered, o)
			}
		}
		slices.SortFunc(t.ordered, func(a, b *object) int {
			if a.seq != b.seq {
				return cmp.Compare(a.seq, b.seq)
			}
			return bytes.Compare(a.id[:], b.id[:])
		})
	}
	list := make([]driver.Object, len(t.ordered))
	for i, o := range t.ordered {
		list[i] = o.self
	}
	return list, errors.Join(t.damage...)
}

// mayUsePrivate reports whether private objects may be shown. t.mu is held.
func (t *Token) mayUsePrivate() bool {
	return t.keys != nil && (t.role == userRole || t.rec.flags&flagNoPIN != 0 && t.role == nobody)
}

// Probe asks the TPM whether it is there and still the one it was.
func (t *Token) Probe(ctx context.Context) error {
	return failed("probe", t.use(ctx, nil, func(c *channel, _ entity) error {
		if t.srk.Load() == nil {
			_, err := c.properties(ptPermanent, ptPermanent)
			return err
		}
		return c.same()
	}))
}

// Close removes what is ours from the TPM, forgets session objects, and closes
// what the token has opened.
func (t *Token) Close() error {
	t.pins.Lock()
	defer t.pins.Unlock()
	err := t.pool.close()
	if err == nil {
		t.dropSessions()
	}
	t.io.Lock()
	defer t.io.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		t.forget()
		for o := range t.session {
			o.drop()
		}
		t.session, t.objects, t.ordered = nil, nil, nil
		clear(t.process)
		if t.closer != nil {
			err = errors.Join(err, t.closer.Close())
		}
	}
	return failed("close", err)
}

// newSecret makes an authorization value: 192 random bits as 32 characters. It
// has no zero octets, which TPMs and their users treat in different ways at the
// end of a value, and is as long as the shortest hash function allows.
func newSecret() []byte {
	var b [24]byte
	rand.Read(b[:])
	defer clear(b[:])
	return base64.RawURLEncoding.AppendEncode(nil, b[:])
}

func (t *Token) log(ctx context.Context, msg string, args ...any) {
	if t.opts.Log != nil {
		t.opts.Log(ctx, msg, args...)
	}
}

func (t *Token) clock() time.Time {
	if t.opts.clock != nil {
		return t.opts.clock()
	}
	return time.Now()
}

// sleep waits, or returns the error of ctx when that ends first.
func (t *Token) sleep(ctx context.Context, d time.Duration) error {
	if t.opts.sleep != nil {
		return t.opts.sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// learn notes whether there is a resource manager, whose handles no TPM gives out.
func (t *Token) learn(object uint32) {
	if object >= virtualHandles && object>>24 == 0x80 {
		t.managed.Store(true)
	} else {
		t.bare.Store(true)
	}
}

// room is how many keys may be loaded on a channel: one where a resource manager
// swaps them for every command, and elsewhere all slots but the one that a
// persistent key takes while it is used.
func (t *Token) room() int {
	if t.managed.Load() {
		return 1
	}
	return max(t.abilities.slots-1, 1)
}

var (
	errClosed        = fmt.Errorf("tpm: the token is closed: %w", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	errNotConnected  = errors.New("not connected")
	errUninitialized = fmt.Errorf("tpm: the token is not initialized: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
	errNotLoggedIn   = fmt.Errorf("tpm: log in first: token objects are authenticated with the token's secret: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
)

// storeError adds to an error of the store the code that says what it means.
func storeError(what string, err error) error {
	return record.StoreError("tpm: "+what, err)
}

func isReadOnly(err error) bool { return errors.Is(err, pal.ErrReadOnly) }

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
