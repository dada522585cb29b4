package soft

import (
	"bytes"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func (r role) String() string {
	if r == soRole {
		return "SO"
	}
	return "user"
}

// tag is the role in associated data.
func (r role) tag() string {
	if r == soRole {
		return "so  "
	}
	return "user"
}

func (r *tokenRecord) key(who role) *wrappedKey {
	if who == soRole {
		return &r.so
	}
	return &r.user
}

// count is the counter of a role.
func (r *triesRecord) count(who role) *byte {
	if who == soRole {
		return &r.so
	}
	return &r.user
}

// used is how many tries in a row were wrong. t.mu is held.
func (t *Token) used(who role) int {
	return int(*t.tries.count(who)) + int(t.unspent[who-soRole])
}

// Login checks a PIN. A try is written to the store before it is checked, and
// taken back if the PIN was right.
//
// On a medium that cannot be written, because it is read-only or full, tries are
// counted in memory: a gateway with a read-only root file system signs, and a
// full disk does not take a device off the network. Whoever can bring that about
// could as well copy the records and try PINs elsewhere.
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
	t.upgradePIN(who, keys.tokenKey, pin)
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

// upgradePIN gives a PIN that is right the cost that Options ask for, if it costs
// less. Where that cannot be written, the PIN stays as it is. t.pins is held.
func (t *Token) upgradePIN(who role, tokenKey, pin []byte) {
	t.mu.RLock()
	rec := t.rec
	t.mu.RUnlock()
	if t.upgrade && rec != nil && rec.key(who).kdf.less(t.opts.KDF) && checkLength(pin) == nil {
		_ = t.setPIN(rec, who, tokenKey, pin)
	}
}

// Logout wipes the keys.
func (t *Token) Logout(ctx context.Context) error {
	t.mu.Lock()
	t.forget()
	t.mu.Unlock()
	return nil
}

// checkPIN spends a try, checks a PIN, and returns the keys that it opens.
// t.pins is held.
func (t *Token) checkPIN(ctx context.Context, who role, pin []byte) (*keyring, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rec, before, err := t.spend(who)
	if err != nil {
		return nil, err
	}
	if !t.opts.noDelay {
		if err := pause(ctx, delay(before, int(rec.maxTries))); err != nil {
			return nil, err
		}
	}
	w := rec.key(who)
	wrapped, err := t.unsealed(rec, w.wrapped)
	if err != nil {
		return nil, err
	}
	var tokenKey []byte
	t.withPIN(w.kdf, func() {
		tokenKey, err = w.unwrap(wrapped, pin, who.tag(), rec.serial, rec.epoch)
	})
	if err != nil {
		t.mu.Lock()
		left := int(rec.maxTries) - t.used(who)
		t.mu.Unlock()
		switch left {
		case 0:
			return nil, fmt.Errorf("soft: wrong %v PIN; it is locked now: %w", who, pkcs11.CKR_PIN_INCORRECT)
		case 1:
			return nil, fmt.Errorf("soft: wrong %v PIN, 1 try left: %w", who, pkcs11.CKR_PIN_INCORRECT)
		}
		return nil, fmt.Errorf("soft: wrong %v PIN, %d tries left: %w", who, left, pkcs11.CKR_PIN_INCORRECT)
	}
	t.restore(who)
	return t.checked(rec, tokenKey)
}

// delay is how long a try waits after so many wrong ones before: not at all for
// the first half of those there are, then a tenth of a second, and twice as long
// each time, up to eight seconds.
func delay(before, limit int) time.Duration {
	n := before - limit/2
	if n < 0 || before == 0 {
		return 0
	}
	return min(100*time.Millisecond<<min(n, 7), 8*time.Second)
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("soft: the try is spent: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
	}
}

// spend counts a try, durably unless the medium cannot be written. It returns
// the token's record as it is now, and how many wrong tries there were before.
func (t *Token) spend(who role) (rec *tokenRecord, before int, err error) {
	t.io.Lock()
	defer t.io.Unlock()
	if t.isClosed() {
		return nil, 0, errClosed
	}
	unlock, err := t.lock()
	if err == nil {
		defer unlock()
	} else if !unwritable(err) {
		return nil, 0, err
	}
	if err := t.loadToken(); err != nil {
		return nil, 0, err
	}
	t.mu.Lock()
	rec = t.rec
	tries := t.tries
	if rec != nil {
		before = t.used(who)
	}
	t.mu.Unlock()
	switch {
	case rec == nil:
		return nil, 0, fmt.Errorf("soft: the token is not initialized: %w", pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	case who == userRole && rec.flags&flagNoPIN != 0:
		return nil, 0, fmt.Errorf("soft: the user of this token has no PIN and need not log in: %w", pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	case rec.key(who).wrapped == nil:
		return nil, 0, fmt.Errorf("soft: the %v has no PIN yet: %w", who, pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	case before >= int(rec.maxTries) && who == userRole:
		return nil, 0, fmt.Errorf("soft: the user PIN is locked after %d wrong ones; the SO can set a new one: %w", rec.maxTries, pkcs11.CKR_PIN_LOCKED)
	case before >= int(rec.maxTries):
		return nil, 0, fmt.Errorf("soft: the SO PIN is locked after %d wrong ones: %w", rec.maxTries, pkcs11.CKR_PIN_LOCKED)
	}
	*tries.count(who)++
	err = t.wroteTries(t.store.Save(nameTries, tries.encode()))
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.tries = tries
	case unwritable(err):
		t.unspent[who-soRole]++
	default:
		return nil, 0, err
	}
	t.publish()
	return rec, before, nil
}

// restore takes the tries of a role back after a right PIN. If that cannot be
// written, the durable count stays, and is in the way of nobody until there are
// too many.
func (t *Token) restore(who role) {
	t.io.Lock()
	defer t.io.Unlock()
	unlock, err := t.lock()
	if err == nil {
		defer unlock()
		err = t.loadToken()
	}
	t.mu.Lock()
	tries := t.tries
	t.mu.Unlock()
	*tries.count(who) = 0
	if err == nil {
		err = t.wroteTries(t.store.Save(nameTries, tries.encode()))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unspent[who-soRole] = 0
	if err == nil {
		t.tries = tries
	}
	if t.rec != nil {
		t.publish()
	}
}

// wroteTries is wrote without reading the objects again.
func (t *Token) wroteTries(err error) error {
	if err == nil || isReadOnly(err) {
		t.noteReadOnly(err != nil)
	}
	if err != nil {
		return storeError("write", err)
	}
	return nil
}

// unwritable reports whether an error says that nothing can be written now.
func unwritable(err error) bool { return isReadOnly(err) || errors.Is(err, pal.ErrFull) }

// checkLength checks a new PIN.
func checkLength(pin []byte) error {
	if len(pin) < MinPIN || len(pin) > MaxPIN {
		return fmt.Errorf("soft: a PIN has %d to %d bytes, not %d: %w", MinPIN, MaxPIN, len(pin), pkcs11.CKR_PIN_LEN_RANGE)
	}
	return nil
}

// InitPIN sets the user's PIN, and unlocks it. The SO is logged in.
func (t *Token) InitPIN(ctx context.Context, pin []byte) error {
	if err := checkLength(pin); err != nil {
		return err
	}
	t.pins.Lock()
	defer t.pins.Unlock()
	t.mu.RLock()
	rec := t.rec
	var tokenKey []byte
	if t.role == soRole && t.keys != nil {
		tokenKey = bytes.Clone(t.keys.tokenKey)
	}
	t.mu.RUnlock()
	defer clear(tokenKey)
	if tokenKey == nil {
		return fmt.Errorf("soft: the SO has to log in to set the user's PIN: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	if rec.flags&flagNoPIN != 0 {
		return fmt.Errorf("soft: this token was made without a user PIN; initialize it anew to have one: %w", pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
	}
	return t.setPIN(rec, userRole, tokenKey, pin)
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
	return t.setPIN(rec, who, keys.tokenKey, newPIN)
}

// setPIN wraps the token key of rec under a new PIN, and takes back the tries.
func (t *Token) setPIN(rec *tokenRecord, who role, tokenKey, pin []byte) error {
	w, err := t.wrap(tokenKey, pin, who, rec)
	if err != nil {
		return err
	}
	t.io.Lock()
	defer t.io.Unlock()
	unlock, err := t.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := t.loadToken(); err != nil {
		return err
	}
	t.mu.RLock()
	now, tries := t.rec, t.tries
	t.mu.RUnlock()
	if now == nil || rec == nil || now.epoch != rec.epoch {
		return fmt.Errorf("soft: the token has been initialized anew meanwhile: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	if now.flags&flagSealed != rec.flags&flagSealed {
		return damaged(nameToken, "somebody else has changed it")
	}
	next := *now
	*next.key(who) = w
	if who == userRole {
		next.flags |= flagUserPIN
	}
	next.sign(tokenKey)
	*tries.count(who) = 0
	if err := t.writeToken(&next, &tries, nil); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rec, t.tries = &next, tries
	t.unspent[who-soRole] = 0
	t.publish()
	return nil
}

// wrap puts the token key under a PIN, and under the platform's key if there is
// one.
func (t *Token) wrap(tokenKey, pin []byte, who role, rec *tokenRecord) (wrappedKey, error) {
	var w wrappedKey
	var salt [16]byte
	if err := t.draw(salt[:]); err != nil {
		return w, err
	}
	t.withPIN(t.opts.KDF, func() {
		w = wrap(tokenKey, pin, who.tag(), rec.serial, rec.epoch, t.opts.KDF, salt)
	})
	if rec.flags&flagSealed == 0 {
		return w, nil
	}
	var err error
	if w.wrapped, err = t.seal(w.wrapped); err != nil {
		return w, err
	}
	return w, nil
}

// maxSealed keeps three sealed keys within a record.
const maxSealed = 4 << 10

func (t *Token) seal(secret []byte) ([]byte, error) {
	if t.sealer == nil {
		return nil, fmt.Errorf("soft: the token key is sealed by a platform's key, and this store has none: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	b, err := t.sealer.Seal(secret)
	if err != nil {
		return nil, fmt.Errorf("soft: the platform does not seal the token key: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	if len(b) == 0 || len(b) > maxSealed {
		return nil, fmt.Errorf("soft: the platform seals %d bytes as %d; at most %d are possible: %w", len(secret), len(b), maxSealed, pkcs11.CKR_DEVICE_ERROR)
	}
	return b, nil
}

// sign authenticates the record.
func (r *tokenRecord) sign(tokenKey []byte) {
	r.signed = r.appendSigned(nil)
	k := keyring{tokenKey: tokenKey}
	k.with(contextToken, func(a cipher.AEAD) { r.mac = seal(nil, a, nil, r.signed) })
}

// InitToken makes the token new and empty. The serial number of one that was
// initialized stays.
func (t *Token) InitToken(ctx context.Context, soPIN []byte, label string) error {
	if len(label) > maxLabel {
		return fmt.Errorf("soft: a token's label has at most %d bytes, not %d: %w", maxLabel, len(label), pkcs11.CKR_ARGUMENTS_BAD)
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

	rec := &tokenRecord{version: version, label: label, maxTries: byte(t.opts.MaxTries)}
	tokenKey := make([]byte, tokenKeyLen)
	defer clear(tokenKey)
	for _, b := range [][]byte{rec.serial[:], rec.epoch[:], tokenKey} {
		if err := t.draw(b); err != nil {
			return err
		}
	}
	if old != nil {
		rec.serial = old.serial
	}
	if t.sealer != nil {
		rec.flags |= flagSealed
	}
	var err error
	if rec.so, err = t.wrap(tokenKey, soPIN, soRole, rec); err != nil {
		return err
	}
	if t.opts.Backup {
		rec.flags |= flagBackup
	}
	if t.opts.NoPIN {
		rec.flags |= flagNoPIN
		rec.open = bytes.Clone(tokenKey)
		if t.sealer != nil {
			if rec.open, err = t.seal(tokenKey); err != nil {
				return err
			}
		}
	}
	rec.sign(tokenKey)

	t.io.Lock()
	defer t.io.Unlock()
	unlock, err := t.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := t.finishJournal(); err != nil {
		return err
	}
	if err := t.loadToken(); err != nil {
		return err
	}
	t.mu.RLock()
	now := t.rec
	t.mu.RUnlock()
	if (now == nil) != (old == nil) || now != nil && now.epoch != old.epoch {
		return fmt.Errorf("soft: another process has initialized the token meanwhile: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	if err := t.writeToken(rec, nil, old); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq = 0
	t.loaded.Store(false)
	return t.setToken(rec, triesRecord{epoch: rec.epoch})
}

// writeToken writes the token's record, with it the counters unless tries is
// nil, and if old is not nil removes its objects, as one step. t.io is held.
func (t *Token) writeToken(rec *tokenRecord, tries *triesRecord, old *tokenRecord) error {
	changes := []pal.Change{{Name: nameToken, Data: rec.encode()}}
	if tries != nil {
		changes = append(changes, pal.Change{Name: nameTries, Data: tries.encode()})
	}
	if t.batcher == nil {
		if old != nil {
			if err := t.wrote(t.store.Save(nameJournal, journalRecord{wiped: old.epoch}.encode())); err != nil {
				return err
			}
		}
		// The record itself is the moment of the change. If the counters, which
		// come after, stay as they were, the SO sets the PIN again.
		for _, c := range changes {
			if err := t.wrote(t.store.Save(c.Name, c.Data)); err != nil {
				return err
			}
		}
		if old != nil {
			// What cannot be removed now is hidden by the journal until it can.
			t.settle(journalRecord{wiped: old.epoch})
		}
		return nil
	}
	if old != nil {
		names, err := t.store.Names()
		if err != nil {
			return storeError("names of the records", err)
		}
		for _, name := range names {
			if strings.HasPrefix(name, objectPrefix) || name == nameTries || name == nameJournal || name == nameInventory {
				changes = append(changes, pal.Change{Name: name})
			}
		}
	}
	if len(changes) == 1 {
		return t.wrote(t.store.Save(nameToken, changes[0].Data))
	}
	return t.wrote(t.batcher.Batch(changes))
}
