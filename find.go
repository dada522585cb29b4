package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/internal/rules"
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
	template, err := rules.Query(template)
	if err != nil {
		return opErr(op, "", err)
	}
	s := se.slot
	if err := s.refresh(ctx); err != nil {
		return opErr(op, "", err)
	}
	s.mu.RLock()
	found := s.objects.find(template, s.userLocked(), buf[:0])
	damage := s.damage
	s.mu.RUnlock()
	// What is damaged may be what was asked for. A search that found something
	// else does not fail for it: one bad certificate takes no gateway offline.
	if damage != nil && (len(found) == 0 || len(template) == 0) {
		return opErr(op, "", damage)
	}

	se.mu.Lock()
	defer se.mu.Unlock()
	if se.find.active {
		return opErr(op, "", pkcs11.CKR_OPERATION_ACTIVE)
	}
	se.find = findOp{active: true, found: found}
	return nil
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
		if s.objects.byHandle.get(h) != nil {
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
