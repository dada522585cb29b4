package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Backuper is a Session that gives out keys for a backup, which has to be
// encrypted: those that are extractable, and the others too if the token was
// initialized to allow that. Sessions of a module made by NewModule are Backupers.
//
// It is for what C_WrapKey cannot do: on these modules that refuses to wrap a
// sensitive key under one that is known outside.
type Backuper interface {
	Session
	// BackupAllowed reports whether the token allows it for keys that are not
	// extractable, which the security officer has decided when it was initialized.
	// It needs no login.
	BackupAllowed(ctx context.Context) (bool, error)
	// BackupObject returns all attributes of an object, the values of a key among
	// them, also if it is sensitive. The user is logged in. The error wraps
	// CKR_KEY_UNEXTRACTABLE for a key that is not extractable, or that only a trusted
	// key may wrap, unless the token allows it. The caller wipes the values.
	BackupObject(ctx context.Context, h pkcs11.ObjectHandle) (pkcs11.Template, error)
}

var _ Backuper = (*session)(nil)

// secretTypes are the attributes that hold the values of keys.
var secretTypes = []pkcs11.AttributeType{pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
	pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT}

func (se *session) BackupAllowed(ctx context.Context) (bool, error) {
	if err := se.check("BackupAllowed"); err != nil {
		return false, err
	}
	return se.backupAllowed(), nil
}

func (se *session) backupAllowed() bool {
	p, ok := se.slot.token.(driver.BackupPolicy)
	return ok && p.BackupAllowed()
}

func (se *session) BackupObject(ctx context.Context, h pkcs11.ObjectHandle) (pkcs11.Template, error) {
	const op = "BackupObject"
	if err := se.check(op); err != nil {
		return nil, err
	}
	s := se.slot
	s.mu.RLock()
	in := s.userLocked()
	s.mu.RUnlock()
	if !in {
		return nil, opErr(op, "", fmt.Errorf("%w: log in first", pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	o, err := s.lookup(h, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	if err != nil {
		return nil, opErr(op, "", err)
	}
	all := o.attrs().Clone()
	if o.class != pkcs11.CKO_PRIVATE_KEY && o.class != pkcs11.CKO_SECRET_KEY {
		return all, nil
	}
	if (!all.Bool(pkcs11.CKA_EXTRACTABLE) || all.Bool(pkcs11.CKA_WRAP_WITH_TRUSTED)) && !se.backupAllowed() {
		return nil, opErr(op, o.String(), fmt.Errorf("%w, and the token was not initialized to allow backups of such keys", pkcs11.CKR_KEY_UNEXTRACTABLE))
	}
	e, ok := o.drv().(driver.Exporter)
	if !ok {
		return nil, opErr(op, o.String(), fmt.Errorf("%w: the token does not give it out", pkcs11.CKR_KEY_UNEXTRACTABLE))
	}
	if err := s.acquire(ctx); err != nil {
		return nil, opErr(op, o.String(), err)
	}
	secrets, err := e.Export(ctx, secretTypes...)
	s.gate.release()
	if err != nil {
		return nil, opErr(op, o.String(), deviceErr(err))
	}
	for _, a := range secrets {
		all = all.Set(a)
	}
	return all, nil
}

// A session that a Token lends is a Backuper if the one below it is.

func (s *lentSession) BackupAllowed(ctx context.Context) (bool, error) {
	b, ok := s.Session.(Backuper)
	if !ok {
		return false, nil
	}
	return b.BackupAllowed(ctx)
}

func (s *lentSession) BackupObject(ctx context.Context, h pkcs11.ObjectHandle) (pkcs11.Template, error) {
	b, ok := s.Session.(Backuper)
	if !ok {
		return nil, fail("back up object", fmt.Errorf("%w: the module has no backups", pkcs11.CKR_FUNCTION_NOT_SUPPORTED), "")
	}
	return b.BackupObject(ctx, h)
}
