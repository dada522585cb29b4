package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Numbers that begin with a zero octet, one in 256, are as good as others: a
// coordinate of the storage root key and of the token's keys, a private scalar, what
// two keys agree on, the two halves of a signature, an RSA signature.
func TestLeadingZeros(t *testing.T) {
	t.Parallel()
	sim := patient(t)
	for tries := 0; ; tries++ {
		require.Less(t, tries, 10_000, "no storage root key begins with a zero")
		srk, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: tpm2.ECCSRKTemplate.ObjectAttributes,
			Parameters: tpm2.ECCSRKTemplate.Parameters, Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
		})}.Execute(sim)
		require.NoError(t, err)
		_, err = tpm2.FlushContext{FlushHandle: srk.ObjectHandle}.Execute(sim)
		require.NoError(t, err)
		public, err := srk.OutPublic.Contents()
		require.NoError(t, err)
		point, err := public.Unique.ECC()
		require.NoError(t, err)
		if point.X.Buffer[0] == 0 {
			break
		}
		_, err = tpm2.Clear{AuthHandle: tpm2.TPMRHLockout}.Execute(sim) // the seed is another one then
		require.NoError(t, err)
	}
	token := initialized(t, sim, new(pal.Mem), tpm.Options{})
	ctx := t.Context()

	for name, zero := range map[string]func(point, scalar []byte) bool{
		"x":      func(point, _ []byte) bool { return point[1] == 0 },
		"y":      func(point, _ []byte) bool { return point[33] == 0 },
		"scalar": func(_, scalar []byte) bool { return scalar[0] == 0 },
	} {
		for {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(t, err)
			point, err := key.PublicKey.Bytes()
			require.NoError(t, err)
			scalar, err := key.Bytes()
			require.NoError(t, err)
			if !zero(point, scalar) {
				continue
			}
			sign(t, importEC(t, token, key, name))
			_, private := templates(name, true, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)),
				pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256), pkcs11.Attr(pkcs11.CKA_VALUE, bytes.TrimLeft(scalar, "\x00")))
			trimmed, err := token.CreateObject(ctx, private, nil)
			require.NoError(t, err, "without the zeros")
			sign(t, trimmed.(driver.Signer))
			break
		}
	}

	public, private := templates("ecdh", true, pkcs11.Attr(pkcs11.CKA_DERIVE, true))
	_, own, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public.Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)), private, nil)
	require.NoError(t, err)
	ownPub, err := driver.PublicKey(own.Attributes())
	require.NoError(t, err)
	ownPoint, err := ownPub.(*ecdsa.PublicKey).ECDH()
	require.NoError(t, err)
	for name, zero := range map[string]func(peer *ecdh.PublicKey, secret []byte) bool{
		"secret":   func(_ *ecdh.PublicKey, secret []byte) bool { return secret[0] == 0 },
		"peer's x": func(peer *ecdh.PublicKey, _ []byte) bool { return peer.Bytes()[1] == 0 },
	} {
		for {
			peer, err := ecdh.P256().GenerateKey(rand.Reader)
			require.NoError(t, err)
			secret, err := peer.ECDH(ownPoint)
			require.NoError(t, err)
			if !zero(peer.PublicKey(), secret) {
				continue
			}
			derived, err := own.(driver.Deriver).Derive(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE, Params: &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: peer.PublicKey().Bytes()}},
				secretTemplate(true, 32), nil)
			require.NoError(t, err, name)
			value, err := derived.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE)
			require.NoError(t, err)
			require.Equal(t, secret, value.Bytes(pkcs11.CKA_VALUE), name)
			break
		}
	}

	key := newEC(t, token, "signs")
	for r, s, tries := false, false, 0; !r || !s; tries++ {
		require.Less(t, tries, 20_000, "no signature has a zero")
		pub, err := driver.PublicKey(key.Attributes())
		require.NoError(t, err)
		sig, err := key.Sign(ctx, ecdsaMech, digest[:])
		require.NoError(t, err)
		require.Len(t, sig, 64)
		r, s = r || sig[0] == 0, s || sig[32] == 0
		require.NoError(t, driver.Verify(pub, ecdsaMech, digest[:], sig))
	}

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, private = templates("rsa", true, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_RSA)), pkcs11.Attr(pkcs11.CKA_MODULUS, rsaKey.N.Bytes()),
		pkcs11.Attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}), pkcs11.Attr(pkcs11.CKA_PRIVATE_EXPONENT, rsaKey.D.Bytes()))
	o, err := token.CreateObject(ctx, private, nil)
	require.NoError(t, err)
	for n := uint64(0); ; n++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
		want, err := rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, sum[:])
		require.NoError(t, err)
		if want[0] != 0 {
			continue
		}
		info, err := driver.DigestInfo(crypto.SHA256, sum[:])
		require.NoError(t, err)
		got, err := o.(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}, info)
		require.NoError(t, err)
		require.Equal(t, want, got)
		return
	}
}
