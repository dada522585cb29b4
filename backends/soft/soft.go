// Package soft is a token in software: keys and certificates as records of a
// pal.Store, encrypted and authenticated, and Go's crypto to use them.
//
//	store, err := fileflash.Open("/var/lib/gateway/token", nil)
//	token, err := soft.New(store, nil)
//
// As a token name it is soft:dir=PATH, over fileflash, or soft:mem=true for one
// that is forgotten when it is closed.
//
// # What is protected, and by what
//
// A random token key encrypts and authenticates everything. It is in the store
// under keys made of the SO's and the user's PIN with Argon2id, so that a copy
// of the store is as good as the PIN: long ones are. Private objects are
// encrypted with their attributes, their secret values once more under a key of
// their own. Public objects are in the clear and authenticated: see [Token] for
// what is checked when. What the package does not protect from is written down
// in docs/soft.md.
//
// A token made with [Options.NoPIN] keeps the token key in the open, for devices
// where nobody is there to enter a PIN and the process has no better place for
// one. Then the permissions of the store are all that protects the keys, unless
// the store is a pal.Sealer.
package soft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/drbg"
	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Limits of a token.
const (
	MinPIN          = 4   // bytes of a PIN
	MaxPIN          = 255 // bytes of a PIN
	DefaultMaxTries = 10  // wrong PINs in a row, then the PIN is locked

	maxLabel = 32 // bytes of a token's label
)

// Options are what a new token gets, at InitToken and when a PIN is set. A
// token that is there has kept what it was made with. The zero value is the
// default.
type Options struct {
	// KDF is the cost of a PIN. The zero value is DefaultKDF for new PINs. If KDF is
	// not zero, a PIN that costs less gets this cost at its next login, which then
	// takes twice as long, once.
	KDF KDF
	// Entropy are the sources of the token's random number generator, which makes
	// keys, salts and what ReadRandom returns. All of them are used together, and
	// each has to work. nil is pal.SystemEntropy; name it too when others are to be
	// used beside it. An empty list that is not nil leaves Seed alone. They are not
	// closed.
	Entropy []pal.EntropySource
	// Seed, if not nil, is mixed in, and replaced before the first use. It may be in
	// the token's store: see pal.StoreSeed.
	Seed pal.Seed
	// NoPIN makes InitToken make a token whose user needs no PIN. See the
	// package comment.
	NoPIN bool
	// Backup makes InitToken make a token whose keys may leave it in a backup,
	// although they are not extractable: see cryptoki.Backuper. It is in the token's
	// authenticated record and cannot be changed later.
	Backup bool
	// MaxTries is how many wrong PINs in a row lock a PIN, 1 to 255; 0 is
	// DefaultMaxTries.
	MaxTries int

	// AcceptObjects takes the objects that the store holds for the token's, also
	// if some of them are missing, or old ones are back: see Token. The next
	// change makes that last. It is for somebody who knows why that is.
	AcceptObjects bool

	noDelay bool // for tests that lock PINs
}

// A Token is a software token. It is a driver.Token with all abilities of one
// but seeding, and safe for concurrent use.
//
// # What is checked when
//
// Reading a record checks its CRC, before login too, so that damage by accident
// is noticed at the first search after opening. Login checks the token's record
// (label, flags, limits) with the token key. The first search after login
// decrypts every private object's attributes and checks every public object, and
// so does a search for whatever another process has changed meanwhile: what
// Objects returns to somebody who is logged in is authentic. Secret values are
// decrypted and checked at their first use. What was found wrong is an error of
// Objects that names each record and wraps pal.ErrCorrupt; the objects that are
// in order are returned beside it.
//
// An inventory, which is written with every change, says which objects there are,
// in which state. If some were removed from the store, or old ones put back, Objects
// returns none of them to somebody who is logged in, and they cannot be changed:
// the error names the record "inventory". Options.AcceptObjects goes on with what
// is there. An older state of the whole store is not noticed.
//
// Before login, public objects are as somebody with access to the store has left
// them.
type Token struct {
	store   pal.Store
	batcher pal.Batcher // nil if the store is none; likewise the next three
	locker  pal.Locker
	watcher pal.Watcher
	sealer  pal.Sealer
	closer  io.Closer // what open opened
	opts    Options

	random  *drbg.Generator
	upgrade bool         // PINs that cost less than opts.KDF
	derived atomic.Int64 // how many keys were made of PINs

	// Locks are taken in this order: pins, those of random, io, an object's secret,
	// mu.

	pins sync.Mutex // one PIN is checked or set at a time

	queueMu sync.Mutex
	queue   []*change // those that wait
	writing bool      // somebody writes, or is about to
	writers int       // who wrote, or came to write, while changes were written last

	// io is held while the store is used, and what it guards is what the store
	// is known to hold.
	io        sync.Mutex
	writeTime time.Duration     // that writing took last
	seen      uint64            // what watcher said when the objects were read
	reread    bool              // the token's record may be another one
	seq       uint64            // of the newest object
	stock     inventory         // of the objects, if they are counted and somebody is logged in
	lost      map[string]uint32 // of those that could not be read: how often each was changed

	// loaded says that objects are those of the store, for whoever is logged in.
	// It becomes true with io and mu held, and false with one of them.
	loaded atomic.Bool

	others atomic.Uint64 // counts changes by others

	mu       sync.RWMutex
	rec      *tokenRecord // nil: not initialized
	tries    triesRecord
	unspent  [2]byte // tries that could not be written, of SO and user
	readOnly bool    // the store said so
	closed   bool
	keys     *keyring // nil: nobody is logged in
	role     role
	objects  map[string]*object // of the store, by the names of their records
	ordered  []*object          // the same in the order of creation; nil: to be made
	session  map[*object]struct{}
	damage   []error // about records that are not in objects
	refused  error   // why there are no objects, although there are records

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
	driver.Copier
	driver.Destroyer
	driver.Updater
	driver.RandomReader
	driver.BackupPolicy
	driver.Authenticator
	driver.PINSetter
	driver.Initializer
} = (*Token)(nil)

// New returns the token that store holds: one that is not initialized if store
// is empty. The store is the token's until Close, and stays open then. opts may
// be nil.
//
// New reads the token's record and finishes what an interrupted change has left
// to do; objects are read at the first search. The error wraps pal.ErrCorrupt if
// the token's record is damaged.
func New(store pal.Store, opts *Options) (*Token, error) {
	t := &Token{
		store:   store,
		objects: make(map[string]*object),
		session: make(map[*object]struct{}),
	}
	if opts != nil {
		t.opts = *opts
	}
	t.upgrade = t.opts.KDF != KDF{}
	if !t.upgrade {
		t.opts.KDF = DefaultKDF
	}
	if err := t.opts.KDF.check(); err != nil {
		return nil, fmt.Errorf("soft: options: %w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	if t.opts.MaxTries == 0 {
		t.opts.MaxTries = DefaultMaxTries
	}
	if t.opts.MaxTries < 1 || t.opts.MaxTries > 255 {
		return nil, fmt.Errorf("soft: options: %w: MaxTries of %d; it is 1 to 255", pkcs11.CKR_ARGUMENTS_BAD, t.opts.MaxTries)
	}
	if err := t.newGenerator(); err != nil {
		return nil, err
	}
	t.batcher, _ = store.(pal.Batcher)
	t.locker, _ = store.(pal.Locker)
	t.watcher, _ = store.(pal.Watcher)
	t.sealer, _ = store.(pal.Sealer)

	t.io.Lock()
	defer t.io.Unlock()
	if t.watcher != nil {
		seen, err := t.watcher.Changes()
		if err != nil {
			return nil, storeError("changes", err)
		}
		t.seen = seen
	}
	if err := t.loadToken(); err != nil {
		return nil, err
	}
	if err := t.recover(); err != nil {
		return nil, err
	}
	return t, nil
}

// String says no more than that this is a token, so that printing one shows
// nothing of it.
func (t *Token) String() string { return "soft: token" }

// GoString is String.
func (t *Token) GoString() string { return t.String() }

// Concurrent says that the methods may be called from several goroutines.
func (t *Token) Concurrent() {}

// Info describes the token as it was last read: by New, by a search, or when a
// PIN was checked.
func (t *Token) Info() driver.Info { return *t.info.Load() }

// publish makes what Info returns. t.mu is held.
func (t *Token) publish() {
	i := driver.Info{
		ManufacturerID:  "go-cryptoki",
		Model:           "soft",
		MaxSessions:     pkcs11.EffectivelyInfinite,
		MinPINLen:       MinPIN,
		MaxPINLen:       MaxPIN,
		FirmwareVersion: pkcs11.Version{Major: 1},
		SlotDescription: "go-cryptoki software token",
	}
	if t.readOnly {
		i.Flags |= pkcs11.CKF_WRITE_PROTECTED
	}
	if t.rec == nil {
		i.Flags |= pkcs11.CKF_LOGIN_REQUIRED
	}
	if r := t.rec; r != nil {
		i.Label = r.label
		i.SerialNumber = r.serialNumber()
		i.Flags |= pkcs11.CKF_TOKEN_INITIALIZED
		switch {
		case r.flags&flagNoPIN != 0:
		case r.flags&flagUserPIN != 0:
			i.Flags |= pkcs11.CKF_LOGIN_REQUIRED | pkcs11.CKF_USER_PIN_INITIALIZED
		default:
			i.Flags |= pkcs11.CKF_LOGIN_REQUIRED
		}
		i.Flags |= countFlags(t.used(userRole), r.maxTries, pkcs11.CKF_USER_PIN_COUNT_LOW, pkcs11.CKF_USER_PIN_FINAL_TRY, pkcs11.CKF_USER_PIN_LOCKED)
		i.Flags |= countFlags(t.used(soRole), r.maxTries, pkcs11.CKF_SO_PIN_COUNT_LOW, pkcs11.CKF_SO_PIN_FINAL_TRY, pkcs11.CKF_SO_PIN_LOCKED)
	}
	t.info.Store(&i)
}

func countFlags(used int, limit byte, low, final, locked uint64) uint64 {
	switch left := int(limit) - used; {
	case used == 0:
		return 0
	case left <= 0:
		return low | locked
	case left == 1:
		return low | final
	default:
		return low
	}
}

// BackupAllowed reports whether the token was made with Options.Backup, as its
// record says, which is authenticated at login.
func (t *Token) BackupAllowed() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.rec != nil && t.rec.flags&flagBackup != 0
}

// Changes counts the changes by other processes.
func (t *Token) Changes() (uint64, error) {
	if t.watcher == nil {
		return 0, nil
	}
	// While this process writes it need not wait: a change by others is noticed
	// at the next call.
	if t.io.TryLock() {
		defer t.io.Unlock()
		if err := t.watch(); err != nil {
			return 0, err
		}
	}
	return t.others.Load(), nil
}

// watch notes whether others have changed the store. t.io is held.
func (t *Token) watch() error {
	if t.watcher == nil {
		if t.locker != nil {
			t.reread = true // there is no way to tell
			t.loaded.Store(false)
		}
		return nil
	}
	now, err := t.watcher.Changes()
	if err != nil {
		return storeError("changes", err)
	}
	if now != t.seen {
		t.seen, t.reread = now, true
		t.loaded.Store(false)
		t.others.Add(1)
	}
	return nil
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
	if t.refused != nil {
		return nil, t.refused
	}
	if t.ordered == nil {
		t.ordered = make([]*object, 0, len(t.objects))
		for _, o := range t.objects {
			if !o.private || t.mayUsePrivate() {
				t.ordered = append(t.ordered, o)
			}
		}
		sortObjects(t.ordered)
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

// Close wipes keys, forgets session objects, and closes the store if the token
// was opened by name.
func (t *Token) Close() error {
	t.pins.Lock()
	defer t.pins.Unlock()
	t.random.Close()
	t.io.Lock()
	defer t.io.Unlock()
	t.mu.Lock()
	t.closed = true
	t.forget()
	for o := range t.session {
		o.secret.drop()
	}
	t.session, t.objects, t.ordered = nil, nil, nil
	t.mu.Unlock()
	if t.closer != nil {
		return t.closer.Close()
	}
	return nil
}

var errClosed = fmt.Errorf("soft: the token is closed: %w", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)

// storeError adds to an error of the store the code that says what it means, and
// what helps.
func storeError(what string, err error) error {
	return record.StoreError("soft: "+what, err)
}

var (
	errUninitialized = fmt.Errorf("soft: the token is not initialized: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
	errNotLoggedIn   = fmt.Errorf("soft: log in first: token objects are authenticated with the token's key: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
)

func isReadOnly(err error) bool { return errors.Is(err, pal.ErrReadOnly) }

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
