package tpm

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// tpmInitialize is the code of a TPM that waits for TPM2_Startup.
const tpmInitialize = tpm2.TPMRCInitialize

func (r role) String() string {
	if r == soRole {
		return "SO"
	}
	return "user"
}

func (r *tokenRecord) sealed(who role) *sealed {
	if who == soRole {
		return &r.so
	}
	return &r.user
}

// lockout is the state of the TPM's protection from dictionary attacks, which
// all who use the TPM share. Part 1, 19.8.
type lockout struct {
	tries, limit uint32
	interval     time.Duration // after which one wrong try is forgotten; 0: never
	recovery     time.Duration // after which the lockout authorization may be tried again
	locked       bool
}

func lockoutOf(p map[uint32]uint32) *lockout {
	return &lockout{
		tries:    p[ptLockoutCounter],
		limit:    p[ptMaxAuthFail],
		interval: time.Duration(p[ptLockoutInterval]) * time.Second,
		recovery: time.Duration(p[ptLockoutRecovery]) * time.Second,
		locked:   p[ptPermanent]&permanentInLockout != 0,
	}
}

func (l *lockout) isLocked() bool { return l.locked || l.tries >= l.limit }

// isLast reports whether one more wrong PIN locks the TPM.
func (l *lockout) isLast() bool { return l.tries > 0 && l.tries+1 == l.limit }

// flags are CKF_…_PIN_… for both PINs: the counter is one for all.
func (l *lockout) flags() uint64 {
	switch {
	case l.isLocked():
		return pkcs11.CKF_USER_PIN_COUNT_LOW | pkcs11.CKF_USER_PIN_LOCKED | pkcs11.CKF_SO_PIN_COUNT_LOW | pkcs11.CKF_SO_PIN_LOCKED
	case l.isLast():
		return pkcs11.CKF_USER_PIN_COUNT_LOW | pkcs11.CKF_USER_PIN_FINAL_TRY | pkcs11.CKF_SO_PIN_COUNT_LOW | pkcs11.CKF_SO_PIN_FINAL_TRY
	case l.tries > 0:
		return pkcs11.CKF_USER_PIN_COUNT_LOW | pkcs11.CKF_SO_PIN_COUNT_LOW
	}
	return 0
}

// recovers says when there is another try.
func (l *lockout) recovers() string {
	if l.interval == 0 {
		return "they are not forgotten; the lockout authorization resets them"
	}
	return fmt.Sprintf("one is forgotten every %v while the TPM has power", l.interval)
}

// readLockout asks the TPM for the state. t.lockout gets it too.
func (c *channel) readLockout() (*lockout, error) {
	p, err := c.properties(ptPermanent, ptLockoutRecovery)
	if err != nil {
		return nil, err
	}
	l := lockoutOf(p)
	c.t.lockout.Store(l)
	c.t.mu.Lock()
	c.t.publish()
	c.t.mu.Unlock()
	return l, nil
}

// guard refuses to check a PIN when a wrong one would lock the TPM, or when it is
// locked.
func (c *channel) guard() error {
	l, err := c.readLockout()
	if err != nil {
		return err
	}
	if l.isLocked() {
		return fmt.Errorf("tpm: the TPM is locked after %d wrong authorizations by all who use it; %s: %w", l.tries, l.recovers(), pkcs11.CKR_PIN_LOCKED)
	}
	if l.isLast() && !c.t.opts.LastTry {
		return fmt.Errorf("tpm: %d of the %d wrong authorizations that lock the TPM are used up, the last one is not tried; %s: %w", l.tries, l.limit, l.recovers(), pkcs11.CKR_PIN_LOCKED)
	}
	return nil
}

// stretch makes an authorization value of a PIN, which the caller clears.
func (s *sealed) stretch(pin []byte) ([]byte, error) {
	// HMAC takes a password and the same with zeros behind it for the same key.
	sum := sha256.Sum256(pin)
	defer clear(sum[:])
	key, err := pbkdf2.Key(sha256.New, string(sum[:]), s.salt[:], int(s.iterations), 24)
	if err != nil {
		return nil, fmt.Errorf("tpm: stretch the PIN: %w: %w", pkcs11.CKR_FUNCTION_FAILED, err)
	}
	defer clear(key)
	return base64.RawURLEncoding.AppendEncode(nil, key), nil
}

// sealTemplate is that of an object that keeps data: under the protection from
// dictionary attacks, as the noDA attribute is not set.
func sealTemplate() []byte {
	return tpm2.Marshal(tpm2.TPMTPublic{
		Type:             tpm2.TPMAlgKeyedHash,
		NameAlg:          tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{
			Scheme: tpm2.TPMTKeyedHashScheme{Scheme: tpm2.TPMAlgNull},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{}),
	})
}

// seal has the TPM keep secret under a PIN.
func (t *Token) seal(ctx context.Context, secret, pin []byte) (sealed, error) {
	s := sealed{iterations: uint32(t.opts.Iterations)}
	rand.Read(s.salt[:])
	auth, err := s.stretch(pin)
	if err != nil {
		return s, err
	}
	secret = bytes.Clone(secret) // use may go on when ctx has ended
	var made *created
	err = t.use(ctx, nil, func(c *channel, _ entity) error {
		if err := c.makeRoom(); err != nil {
			return err
		}
		made, err = c.create(sealTemplate(), auth, secret)
		return err
	})
	if ctx.Err() == nil {
		clear(auth)
		clear(secret)
	}
	if err != nil {
		return s, failed("seal the token secret", err)
	}
	s.public, s.private = made.key.public.raw, made.key.private
	return s, nil
}

// makeRoom leaves a slot for an object that is not kept.
func (c *channel) makeRoom() error {
	for len(c.loaded) >= c.t.room() {
		if err := c.unload(c.loaded[0].key); err != nil {
			return err
		}
	}
	return nil
}

// unseal has the TPM release the token secret to who knows the PIN. It is the one
// place where a try is spent, and nothing is done there twice.
func (c *channel) unseal(s *sealed, auth []byte) ([]byte, error) {
	k, err := newKey(s.public, s.private)
	if err != nil {
		return nil, damaged(nameToken, "%v", err)
	}
	if err := errors.Join(c.endSession(), c.makeRoom()); err != nil {
		return nil, err
	}
	salted, err := c.start(true)
	if err != nil {
		return nil, err
	}
	object := uint32(0)
	defer func() { c.discard(salted, object) }()
	c.t.names.Store(string(k.name), true)
	// The session protects the loading, which it authorizes nothing of: if
	// somebody has changed what started it, that shows here, where it does not
	// cost a try.
	r, err := c.exec(&command{
		code:    tpm2.TPMCCLoad,
		handles: []entity{c.t.srk.Load().entity()},
		needs:   1,
		auths:   []authorization{{}, {session: salted, attrs: attrContinue | attrDecrypt}},
		params:  putSized(putSized(nil, k.private), k.public.raw),
		returns: true,
	})
	if err != nil {
		return nil, unsure(err)
	}
	object = r.handle
	p := r.reader()
	if name := p.sized(); !p.done() || !bytes.Equal(name, k.name) || object>>24 != 0x80 {
		c.dirty = true
		return nil, &commandError{tpm2.TPMCCLoad, errGarbled}
	}
	c.t.learn(object)
	r2, err := c.exec(&command{
		code:    tpm2.TPMCCUnseal,
		handles: []entity{{r.handle, k.name}},
		needs:   1,
		auths:   []authorization{{session: salted, value: auth, attrs: attrEncrypt}},
	})
	c.discard(salted, object)
	object = 0
	c.forgive()
	if err != nil {
		return nil, &spentError{err}
	}
	q := r2.reader()
	secret := bytes.Clone(q.sized())
	clear(r2.params)
	if !q.done() {
		return nil, &commandError{tpm2.TPMCCUnseal, errGarbled}
	}
	return secret, nil
}

// discard removes a session and an object that were there for one purpose, 0 for
// none. Behind a resource manager everything of the channel goes with the
// connection, which is cheaper than to have it swapped in to be removed.
func (c *channel) discard(s *session, object uint32) {
	if object >= virtualHandles && c.closer != nil {
		c.forget()
		c.disconnect()
		if err := c.connect(); err == nil {
			s.handle = 0
			return
		}
	}
	if object != 0 {
		c.flush(object)
	}
	c.end(s)
	s.handle = 0
}

// forgive is to follow the use of an object under protection from dictionary
// attacks: a TPM that loses power after one counts that as a wrong try, unless it
// was told before. Part 1, 19.8.6.
func (c *channel) forgive() {
	if _, err := c.run(tpm2.TPMCCShutdown, nil, put16(nil, uint16(tpm2.TPMSUClear))); err != nil {
		c.t.log(c.ctx, "the TPM cannot be told that a loss of power is none of an attack", "reason", err)
	}
}

// A spentError is one of a command that checks a value of the caller's, such as
// TPM2_Unseal: it may have cost a try, and nothing is tried again.
type spentError struct{ err error }

func (e *spentError) Error() string { return e.err.Error() }
func (e *spentError) Unwrap() error { return e.err }

// open has a PIN checked, and returns the token secret.
func (t *Token) open(ctx context.Context, rec *tokenRecord, who role, pin []byte) ([]byte, error) {
	s := rec.sealed(who)
	switch {
	case who == userRole && rec.flags&flagNoPIN != 0:
		return nil, fmt.Errorf("tpm: the user of this token has no PIN and need not log in: %w", pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	case s.private == nil:
		return nil, fmt.Errorf("tpm: the %v has no PIN yet: %w", who, pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	}
	auth, err := s.stretch(pin)
	if err != nil {
		return nil, err
	}
	var secret []byte
	err = t.use(ctx, nil, func(c *channel, _ entity) error {
		if err := c.guard(); err != nil {
			return err
		}
		var err error
		if secret, err = c.unseal(s, auth); err == nil {
			return nil
		}
		var spent *spentError
		if errors.As(err, &spent) && (errors.Is(err, tpm2.TPMRCAuthFail) || errors.Is(err, tpm2.TPMRCLockout)) {
			l, lerr := c.readLockout()
			if lerr != nil {
				l = t.lockout.Load()
			}
			if errors.Is(err, tpm2.TPMRCLockout) {
				return fmt.Errorf("tpm: the TPM is locked after %d wrong authorizations by all who use it; %s: %w: %w", l.tries, l.recovers(), pkcs11.CKR_PIN_LOCKED, inside(err))
			}
			return fmt.Errorf("tpm: wrong %v PIN; %d of %d wrong authorizations are used up, %s: %w: %w", who, l.tries, l.limit, l.recovers(), pkcs11.CKR_PIN_INCORRECT, inside(err))
		}
		return err
	})
	if ctx.Err() == nil {
		clear(auth)
	}
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return nil, damaged(nameToken, "the TPM does not take the sealed secret, although the parent key is the right one")
	}
	if err != nil {
		return nil, failed("check the PIN", err)
	}
	if len(secret) != len(newSecret()) {
		return nil, damaged(nameToken, "the token secret has %d bytes", len(secret))
	}
	return secret, nil
}

// Login checks a PIN. A wrong one counts in the TPM, for all who use it; a right
// one does not take wrong ones back, they are forgotten with time. See
// Options.LastTry for the last one.
func (t *Token) Login(ctx context.Context, user pkcs11.UserType, pin []byte) error {
	who := userRole
	if user == pkcs11.CKU_SO {
		who = soRole
	}
	t.pins.Lock()
	defer t.pins.Unlock()
	keys, err := t.checkPIN(ctx, who, pin)
	if err != nil {
		return err
	}
	if user == pkcs11.CKU_CONTEXT_SPECIFIC {
		keys.wipe()
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		keys.wipe()
		return errClosed
	}
	if t.keys != nil {
		t.keys.wipe()
	}
	t.keys, t.role, t.ordered = keys, who, nil
	t.loaded.Store(false) // so that what can be checked now is
	return nil
}

// checkPIN has a PIN checked and returns what it opens. t.pins is held.
func (t *Token) checkPIN(ctx context.Context, who role, pin []byte) (*keyring, error) {
	t.io.Lock()
	err := t.loadToken() // another process may have changed the PIN
	t.io.Unlock()
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	rec := t.rec
	t.mu.RUnlock()
	if rec == nil {
		return nil, fmt.Errorf("tpm: the token is not initialized: %w", pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	}
	secret, err := t.open(ctx, rec, who, pin)
	if err != nil {
		return nil, err
	}
	return t.checked(rec, secret)
}

// checked returns the keys made of the token secret, which it takes over, if the
// token's record is authentic.
func (t *Token) checked(rec *tokenRecord, secret []byte) (*keyring, error) {
	keys := newKeyring(secret)
	if _, err := open(keys.meta(), rec.mac, rec.signed); err != nil {
		keys.wipe()
		return nil, damaged(nameToken, "somebody else has changed it")
	}
	return keys, nil
}

// Logout forgets the token secret, and removes the keys that it opens from the
// TPM.
func (t *Token) Logout(ctx context.Context) error {
	t.mu.Lock()
	t.forget()
	open := t.keys != nil
	t.mu.Unlock()
	if !open {
		t.pool.all(func(c *channel) {
			if c.unloadAll() != nil {
				c.dirty = true
			}
		})
	}
	return nil
}

// checkLength checks a new PIN.
func checkLength(pin []byte) error {
	if len(pin) < MinPIN || len(pin) > MaxPIN {
		return fmt.Errorf("tpm: a PIN has %d to %d bytes, not %d: %w", MinPIN, MaxPIN, len(pin), pkcs11.CKR_PIN_LEN_RANGE)
	}
	return nil
}

// InitPIN sets the user's PIN. The SO is logged in.
func (t *Token) InitPIN(ctx context.Context, pin []byte) error {
	if err := checkLength(pin); err != nil {
		return err
	}
	t.pins.Lock()
	defer t.pins.Unlock()
	t.mu.RLock()
	rec := t.rec
	var secret []byte
	if t.role == soRole && t.keys != nil {
		secret = bytes.Clone(t.keys.secret)
	}
	t.mu.RUnlock()
	defer clear(secret)
	if secret == nil {
		return fmt.Errorf("tpm: the SO has to log in to set the user's PIN: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	if rec.flags&flagNoPIN != 0 {
		return fmt.Errorf("tpm: this token was made without a user PIN; initialize it anew to have one: %w", pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
	}
	return t.setPIN(ctx, rec, userRole, secret, pin)
}

// SetPIN changes the PIN of the user or the SO, who need not be logged in.
func (t *Token) SetPIN(ctx context.Context, user pkcs11.UserType, oldPIN, newPIN []byte) error {
	if err := checkLength(newPIN); err != nil {
		return err
	}
	who := userRole
	if user == pkcs11.CKU_SO {
		who = soRole
	}
	t.pins.Lock()
	defer t.pins.Unlock()
	keys, err := t.checkPIN(ctx, who, oldPIN)
	if err != nil {
		return err
	}
	defer keys.wipe()
	t.mu.RLock()
	rec := t.rec
	t.mu.RUnlock()
	return t.setPIN(ctx, rec, who, keys.secret, newPIN)
}

// setPIN seals the token secret of rec under a new PIN.
func (t *Token) setPIN(ctx context.Context, rec *tokenRecord, who role, secret, pin []byte) error {
	s, err := t.seal(ctx, secret, pin)
	if err != nil {
		return err
	}
	release, err := t.exclusive()
	if err != nil {
		return err
	}
	defer release()
	if err := t.loadToken(); err != nil {
		return err
	}
	t.mu.RLock()
	now := t.rec
	t.mu.RUnlock()
	if now == nil || rec == nil || now.epoch != rec.epoch {
		return fmt.Errorf("tpm: the token has been initialized anew meanwhile: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	next := *now
	*next.sealed(who) = s
	if who == userRole {
		next.flags |= flagUserPIN
	}
	next.sign(secret)
	if err := t.wrote(t.store.Save(nameToken, next.encode())); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rec = &next
	t.publish()
	return nil
}

// sign authenticates the record.
func (r *tokenRecord) sign(secret []byte) {
	r.signed = r.appendSigned(nil)
	r.mac = seal(aead(derive(secret, contextToken)), nil, r.signed)
}

// InitToken makes the token new and empty. The serial number of one that was
// initialized stays. If the TPM has no storage root key yet, InitToken makes one,
// for which it needs the owner's authorization: see Options.OwnerAuth.
func (t *Token) InitToken(ctx context.Context, soPIN []byte, label string) error {
	if len(label) > maxLabel {
		return fmt.Errorf("tpm: a token's label has at most %d bytes, not %d: %w", maxLabel, len(label), pkcs11.CKR_ARGUMENTS_BAD)
	}
	label = strings.TrimRight(label, " ")
	t.pins.Lock()
	defer t.pins.Unlock()
	t.mu.RLock()
	old := t.rec
	t.mu.RUnlock()
	if old != nil {
		keys, err := t.checkPIN(ctx, soRole, soPIN)
		if err != nil {
			return err
		}
		keys.wipe()
	} else if err := checkLength(soPIN); err != nil {
		return err
	}
	if err := t.provision(ctx); err != nil {
		return err
	}

	srk := t.srk.Load()
	rec := &tokenRecord{version: withInventory, label: label, parent: srk.handle, srkName: srk.name}
	if old != nil {
		rec.serial = old.serial
	} else {
		rand.Read(rec.serial[:])
	}
	rand.Read(rec.epoch[:])
	secret := newSecret()
	defer clear(secret)
	var err error
	if rec.so, err = t.seal(ctx, secret, soPIN); err != nil {
		return err
	}
	if t.opts.NoPIN {
		rec.flags |= flagNoPIN
		rec.open = bytes.Clone(secret)
	}
	rec.sign(secret)
	defer t.tidyTPM(ctx)
	return t.begin(rec, old)
}

// begin makes rec the record of the token, in place of old, whose objects go.
func (t *Token) begin(rec, old *tokenRecord) error {
	release, err := t.exclusive()
	if err != nil {
		return err
	}
	defer release()
	if err := t.loadToken(); err != nil {
		return err
	}
	t.mu.RLock()
	now := t.rec
	t.mu.RUnlock()
	if (now == nil) != (old == nil) || now != nil && now.epoch != old.epoch {
		return fmt.Errorf("tpm: another process has initialized the token meanwhile: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	announced, err := t.announce(t.allPersistent()...)
	if err != nil {
		return err
	}
	if err := t.wrote(t.write(append(announced, pal.Change{Name: nameToken, Data: rec.encode()}))); err != nil {
		return err
	}
	// What is of another epoch is not there any more; it is removed now as far as
	// that is possible, and otherwise with the next change.
	t.removeOld(rec.epoch)
	t.storeAbilities()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq = 0
	t.loaded.Store(false)
	return t.setToken(rec)
}

// provision makes the storage root key if there is none.
func (t *Token) provision(ctx context.Context) error {
	if t.srk.Load() != nil {
		return nil
	}
	return t.use(ctx, nil, func(c *channel, _ entity) error {
		srk, err := c.readSRK(t.opts.Parent)
		if err != nil {
			return err
		}
		if srk == nil && t.opts.Parent != srkHandle {
			return fmt.Errorf("tpm: there is no key at %#x: %w", t.opts.Parent, pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
		}
		if srk == nil {
			if err := c.makeSRK(); err != nil {
				return err
			}
			if srk, err = c.readSRK(srkHandle); err != nil {
				return err
			}
			if srk == nil {
				return fmt.Errorf("tpm: the storage root key is not where it was put: %w", pkcs11.CKR_DEVICE_ERROR)
			}
		}
		t.srk.Store(srk)
		return nil
	})
}
