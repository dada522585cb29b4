package atecc608_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The templates are the caller's: a server clears the message that a call came in.
// What was generated lost its CKA_ID then, and programs did not find it again.
func TestTemplatesAreTheCallers(t *testing.T) {
	open := opener(newChip(t, provisioned(t), nil), &pal.Mem{}, atecc608.Options{})
	token, err := open(t.Context())
	require.NoError(t, err)
	public, private := generateTemplates("a", "a")
	public = append(public, pkcs11.Attr(pkcs11.CKA_ID, []byte{1, 2, 3}))
	private = append(private, pkcs11.Attr(pkcs11.CKA_ID, []byte{1, 2, 3}))
	pub, priv, err := token.(*atecc608.Token).GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public, private, nil)
	require.NoError(t, err)
	clear(public.Bytes(pkcs11.CKA_ID))
	clear(private.Bytes(pkcs11.CKA_ID))
	require.Equal(t, []byte{1, 2, 3}, pub.Attributes().Bytes(pkcs11.CKA_ID))
	require.Equal(t, []byte{1, 2, 3}, priv.Attributes().Bytes(pkcs11.CKA_ID))
}
