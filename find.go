package cryptoki

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// findOp is a search: the handles found when it began. Those destroyed since are
// left out when they are fetched.
type findOp struct {
	active bool
	found  []pkcs11.ObjectHandle
	next   int
}

func (se *session) FindObjectsInit(ctx context.Context, template pkcs11.Template) error {
	const op = "FindObjectsInit"
	if err := se.check(op); err != nil {
		return err
	}
	se.mu.Lock()
	active, buf := se.find.active, se.find.found
	if !active {
		se.find.found = nil // buf is this call's now
	}
	se.mu.Unlock()
	if active {
		return opErr(op, "", fmt.Errorf("%w: a search is under way; end it with FindObjectsFinal", pkcs11.CKR_OPERATION_ACTIVE))
	}
	template, err := canonical(template)
	if err != nil {
		return opErr(op, "", err)
	}
	template = trimLabel(template)
	s := se.slot
	if err := s.refresh(ctx); err != nil {
		return opErr(op, "", err)
	}
	s.mu.RLock()
	found := s.objects.find(template, s.userLocked(), buf[:0])
	s.mu.RUnlock()

	se.mu.Lock()
	defer se.mu.Unlock()
	if se.find.active {
		return opErr(op, "", pkcs11.CKR_OPERATION_ACTIVE)
	}
	se.find = findOp{active: true, found: found}
	return nil
}

// canonical returns the template with canonical values: itself if all are.
func canonical(t pkcs11.Template) (pkcs11.Template, error) {
	copied := false
	for i, a := range t {
		if isCanonical(a) {
			continue
		}
		c, err := a.Canonical()
		if err != nil {
			return nil, err
		}
		if !copied {
			t = slices.Clone(t)
			copied = true
		}
		t[i] = c
	}
	return t, nil
}

// trimLabel takes one trailing NUL off CKA_LABEL, which callers of corePKCS11
// send along.
func trimLabel(t pkcs11.Template) pkcs11.Template {
	for i, a := range t {
		if a.Type != pkcs11.CKA_LABEL {
			continue
		}
		if label, cut := strings.CutSuffix(a.Text(), "\x00"); cut {
			t = slices.Clone(t)
			t[i].Value = label
		}
	}
	return t
}

// isCanonical spares a search for the usual types the copy of its template.
func isCanonical(a pkcs11.Attribute) bool {
	var ok bool
	switch a.Type.Kind() {
	case pkcs11.KindBool:
		_, ok = a.Value.(bool)
	case pkcs11.KindUint:
		_, ok = a.Value.(uint64)
	case pkcs11.KindText:
		_, ok = a.Value.(string)
	case pkcs11.KindBytes:
		_, ok = a.Value.([]byte)
	}
	return ok
}

func (se *session) FindObjects(_ context.Context, objects []pkcs11.ObjectHandle) (int, error) {
	const op = "FindObjects"
	if err := se.check(op); err != nil {
		return 0, err
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if !se.find.active {
		return 0, opErr(op, "", fmt.Errorf("%w: no search is under way; begin with FindObjectsInit", pkcs11.CKR_OPERATION_NOT_INITIALIZED))
	}
	if len(objects) == 0 {
		se.find = findOp{found: se.find.found}
		return 0, opErr(op, "", fmt.Errorf("%w: there is no room for handles; the search is over", pkcs11.CKR_ARGUMENTS_BAD))
	}
	s := se.slot
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for n < len(objects) && se.find.next < len(se.find.found) {
		h := se.find.found[se.find.next]
		se.find.next++
		if _, ok := s.objects.byHandle[h]; ok {
			objects[n] = h
			n++
		}
	}
	return n, nil
}

func (se *session) FindObjectsFinal(context.Context) error {
	const op = "FindObjectsFinal"
	if err := se.check(op); err != nil {
		return err
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if !se.find.active {
		return opErr(op, "", fmt.Errorf("%w: no search is under way", pkcs11.CKR_OPERATION_NOT_INITIALIZED))
	}
	se.find = findOp{found: se.find.found}
	return nil
}
