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

// What a caller does with a template afterwards changes no object, also where the
// driver keeps what it was given.
func TestTemplateIsNotKept(t *testing.T) {
	c := newChip(t)
	m, err := NewModule(nil, c)
	require.NoError(t, err)
	defer m.Close()
	s, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	require.NoError(t, err)
	require.NoError(t, s.Login(t.Context(), pkcs11.CKU_USER, []byte("1234")))
	id := []byte{1, 2}
	oid := []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}
	pub, priv, err := s.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_EC_PARAMS, oid), pkcs11.Attr(pkcs11.CKA_ID, id)},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_ID, id)})
	require.NoError(t, err)
	clear(id)
	clear(oid)
	for _, h := range []pkcs11.ObjectHandle{pub, priv} {
		want := pkcs11.Template{{Type: pkcs11.CKA_ID}, {Type: pkcs11.CKA_EC_PARAMS}}
		require.NoError(t, s.GetAttributeValue(t.Context(), h, want))
		require.Equal(t, []byte{1, 2}, want[0].Value)
		require.Equal(t, byte(6), want[1].Bytes()[0])
	}
}
