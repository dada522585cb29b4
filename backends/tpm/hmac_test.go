package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A key in the TPM makes HMACs with every hash function that the TPM has, of short
// data and of data that take several commands.
func TestHashesOfHMAC(t *testing.T) {
	t.Parallel()
	token := initialized(t, patient(t), new(pal.Mem), tpm.Options{})
	secret := bytes.Repeat([]byte{3}, 40)
	key, err := token.CreateObject(t.Context(), object(pkcs11.CKO_SECRET_KEY, "key", true, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_GENERIC_SECRET)),
		pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_VALUE, secret)), nil)
	require.NoError(t, err)
	for m, h := range map[pkcs11.MechanismType]crypto.Hash{
		pkcs11.CKM_SHA_1_HMAC: crypto.SHA1, pkcs11.CKM_SHA256_HMAC: crypto.SHA256, pkcs11.CKM_SHA384_HMAC: crypto.SHA384, pkcs11.CKM_SHA512_HMAC: crypto.SHA512,
	} {
		for _, n := range []int{1, 3000} {
			data := bytes.Repeat([]byte{9}, n)
			mac, err := key.(driver.Signer).Sign(t.Context(), &pkcs11.Mechanism{Type: m}, data)
			require.NoError(t, err, "%v", m)
			want := hmac.New(h.New, secret)
			want.Write(data)
			require.Equal(t, want.Sum(nil), mac, "%v of %d bytes", m, n)
			require.NoError(t, key.(driver.Verifier).Verify(t.Context(), &pkcs11.Mechanism{Type: m}, data, mac))
		}
	}
	_, err = key.(driver.Signer).Sign(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_SHA3_256_HMAC}, nil)
	require.ErrorIs(t, err, pkcs11.CKR_MECHANISM_INVALID)
}
