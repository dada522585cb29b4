package cryptoki

import (
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An SOReporter is a Module that tells whether a token has a security officer, who
// initializes it and sets the user's PIN. The flags of the standard say how many
// wrong PINs the officer has entered, not whether there is one. Modules made by
// NewModule are SOReporters; one in another process is not.
type SOReporter interface {
	Module
	// HasSO reports whether the token in the slot has a security officer.
	HasSO(id pkcs11.SlotID) (bool, error)
}

var _ SOReporter = (*module)(nil)

func (m *module) HasSO(id pkcs11.SlotID) (bool, error) {
	s, err := m.slot("HasSO", id)
	if err != nil {
		return false, err
	}
	_, ok := s.token.(driver.Initializer) // the officer's PIN comes with that
	return ok, nil
}
