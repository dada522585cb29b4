package tss2_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm/tss2"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
)

// openssl runs OpenSSL with the provider for TPMs.
func openssl(t *testing.T, tpm *tpmtest.TPM, args ...string) []byte {
	t.Helper()
	tpmtest.NeedProvider(t)
	tpm.Disconnect()
	args = append(args, "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2")
	command := proc.Command(t, "openssl", args...)
	command.Env = append(os.Environ(), "TPM2OPENSSL_TCTI="+tpm.TCTI())
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	require.NoError(t, err, "openssl %v: %s", args, &stderr)
	return output
}

// primary makes the primary key of the owner's hierarchy that a parent of
// 0x40000001 stands for: the standard template, with nothing in unique.
func primary(t *testing.T, tpm *tpmtest.TPM) *tpm2.NamedHandle {
	t.Helper()
	template := tpm2.ECCSRKTemplate
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	r, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(tpm)
	require.NoError(t, err)
	return &tpm2.NamedHandle{Handle: r.ObjectHandle, Name: r.Name}
}

var algorithms = map[string][]string{
	"P-256":    {"genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256"},
	"RSA-2048": {"genpkey", "-algorithm", "RSA", "-pkeyopt", "bits:2048"},
}

// A key that OpenSSL made signs for who can read its file.
func TestKeyFromOpenSSL(t *testing.T) {
	t.Parallel()
	tpm := tpmtest.Start(t)
	for name, args := range algorithms {
		t.Run(name, func(t *testing.T) {
			text := openssl(t, tpm, args...)
			k, err := tss2.ParsePEM(text)
			require.NoError(t, err)
			require.Equal(t, tss2.Loadable, k.Type)
			require.EqualValues(t, 0x40000001, k.Parent)
			require.True(t, k.EmptyAuth)
			require.False(t, k.HasPolicy())

			parent := primary(t, tpm)
			loaded, err := tpm2.Load{
				ParentHandle: parent,
				InPrivate:    tpm2.TPM2BPrivate{Buffer: k.Private},
				InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](k.Public),
			}.Execute(tpm)
			require.NoError(t, err)
			flush(t, tpm, parent.Handle)

			path := filepath.Join(t.TempDir(), "key.pem")
			require.NoError(t, os.WriteFile(path, text, 0o600))
			digest := sha256.Sum256([]byte("a message"))
			scheme := tpm2.TPMAlgECDSA
			if name != "P-256" {
				scheme = tpm2.TPMAlgRSASSA
			}
			command := tpm2.Sign{
				KeyHandle: tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name},
				Digest:    tpm2.TPM2BDigest{Buffer: digest[:]},
				InScheme: tpm2.TPMTSigScheme{Scheme: scheme,
					Details: tpm2.NewTPMUSigScheme(scheme, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
				Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
			}
			signed, err := command.Execute(tpm)
			if errors.Is(err, tpm2.TPMRCRetry) { // keys of OpenSSL are protected from dictionary attacks: their first use
				signed, err = command.Execute(tpm)
			}
			require.NoError(t, err)
			flush(t, tpm, loaded.ObjectHandle)

			block, _ := pem.Decode(openssl(t, tpm, "pkey", "-in", path, "-pubout"))
			require.NotNil(t, block)
			public, err := x509.ParsePKIXPublicKey(block.Bytes)
			require.NoError(t, err)
			switch public := public.(type) {
			case *ecdsa.PublicKey:
				s, err := signed.Signature.Signature.ECDSA()
				require.NoError(t, err)
				require.True(t, ecdsa.Verify(public, digest[:], bigInt(s.SignatureR.Buffer), bigInt(s.SignatureS.Buffer)))
			case *rsa.PublicKey:
				s, err := signed.Signature.Signature.RSASSA()
				require.NoError(t, err)
				require.NoError(t, rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], s.Sig.Buffer))
			}
		})
	}
}

// OpenSSL signs with a key from a file of ours, below the primary key and below
// a persistent one.
func TestKeyForOpenSSL(t *testing.T) {
	t.Parallel()
	tpm := tpmtest.Start(t)
	parent := primary(t, tpm)
	_, err := tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: parent,
		PersistentHandle: 0x81000001}.Execute(tpm)
	require.NoError(t, err)
	created, err := tpm2.Create{
		ParentHandle: parent,
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true},
			Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256}),
		}),
	}.Execute(tpm)
	require.NoError(t, err)
	flush(t, tpm, parent.Handle)
	contents, err := created.OutPublic.Contents()
	require.NoError(t, err)
	ecc, err := contents.Unique.ECC()
	require.NoError(t, err)

	message := []byte("a message")
	dir := t.TempDir()
	in := filepath.Join(dir, "message")
	require.NoError(t, os.WriteFile(in, message, 0o600))
	for _, handle := range []uint32{0x40000001, 0x81000001} {
		k := &tss2.Key{Type: tss2.Loadable, EmptyAuth: true, Parent: handle,
			Public: created.OutPublic.Bytes(), Private: created.OutPrivate.Buffer}
		text, err := k.MarshalPEM()
		require.NoError(t, err)
		path := filepath.Join(dir, "key.pem")
		require.NoError(t, os.WriteFile(path, text, 0o600))
		signature := openssl(t, tpm, "pkeyutl", "-sign", "-rawin", "-digest", "sha256", "-inkey", path, "-in", in)
		digest := sha256.Sum256(message)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, ecc.X.Buffer, ecc.Y.Buffer))
		require.NoError(t, err)
		require.True(t, ecdsa.VerifyASN1(public, digest[:], signature), "parent %#x", handle)
	}
}

// A TPM does not take a key that was wrapped for another one.
func TestKeyOfAnotherTPM(t *testing.T) {
	t.Parallel()
	tpm := tpmtest.Start(t)
	k, err := tss2.ParsePEM(openssl(t, tpm, algorithms["P-256"]...))
	require.NoError(t, err)
	tpm.Wipe()
	_, err = tpm2.Load{
		ParentHandle: primary(t, tpm),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: k.Private},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](k.Public),
	}.Execute(tpm)
	require.True(t, errors.Is(err, tpm2.TPMRCIntegrity), "%v", err)
}

func flush(t *testing.T, tpm *tpmtest.TPM, handles ...tpm2.TPMHandle) {
	t.Helper()
	for _, handle := range handles {
		_, err := tpm2.FlushContext{FlushHandle: handle}.Execute(tpm)
		require.NoError(t, err)
	}
}

func bigInt(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
