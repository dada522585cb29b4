package cryptoki

import (
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/stretchr/testify/require"
)

// What one application changes the others see, also where the driver does not
// count its own changes; and nobody reads again what he changed himself.
func TestApplicationsSeeChanges(t *testing.T) {
	c := newChip(t)
	m, err := NewModule(nil, c)
	require.NoError(t, err)
	defer m.Close()
	var sessions [2]Session
	for i := range sessions {
		app, err := NewApplication(m, nil)
		require.NoError(t, err)
		sessions[i], err = app.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		require.NoError(t, err)
	}
	count := func(s Session) int {
		t.Helper()
		require.NoError(t, s.FindObjectsInit(t.Context(), nil))
		n, err := s.FindObjects(t.Context(), make([]pkcs11.ObjectHandle, 10))
		require.NoError(t, err)
		require.NoError(t, s.FindObjectsFinal(t.Context()))
		return n
	}
	require.Equal(t, []int{0, 0}, []int{count(sessions[0]), count(sessions[1])})
	var h pkcs11.ObjectHandle
	for range 3 {
		h, err = sessions[0].CreateObject(t.Context(), pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, false)})
		require.NoError(t, err)
	}
	slot := sessions[0].(*session).slot
	require.Equal(t, slot.device.changes.Load(), slot.seenHere)
	require.Equal(t, []int{3, 3}, []int{count(sessions[0]), count(sessions[1])})
	require.NoError(t, sessions[0].DestroyObject(t.Context(), h))
	require.Equal(t, []int{2, 2}, []int{count(sessions[0]), count(sessions[1])})
}
