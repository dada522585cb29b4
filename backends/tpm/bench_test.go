package tpm_test

import (
	"crypto/ecdsa"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
)

// BenchmarkSign compares a P-256 signature of a token with what the TPM itself
// takes, through go-tpm. They are made in turn in one run, over one swtpm. The
// ratio is what to look at; interop/tpm compares with other software.
//
//	ratio        of the token to TPM2_Sign with a password and one verification
//	share        what is ours of the time: all but waiting for the TPM
func BenchmarkSign(b *testing.B) {
	sim := patient(b)
	watch := &stopwatch{TPM: sim}
	token := initialized(b, watch, new(pal.Mem), tpm.Options{})
	key := newEC(b, token, "key")
	ours := func() {
		_, err := key.Sign(b.Context(), ecdsaMech, digest[:])
		require.NoError(b, err)
	}
	handle, public := bareKey(b, sim)
	barePub, err := tpm2.Pub(*public)
	require.NoError(b, err)
	bare := func() {
		r, err := tpm2.Sign{
			KeyHandle:  tpm2.AuthHandle{Handle: handle.Handle, Name: handle.Name, Auth: tpm2.PasswordAuth(nil)},
			Digest:     tpm2.TPM2BDigest{Buffer: digest[:]},
			InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		}.Execute(sim)
		require.NoError(b, err)
		sig, err := r.Signature.Signature.ECDSA()
		require.NoError(b, err)
		raw := make([]byte, 64)
		copy(raw[32-len(sig.SignatureR.Buffer):], sig.SignatureR.Buffer)
		copy(raw[64-len(sig.SignatureS.Buffer):], sig.SignatureS.Buffer)
		require.NoError(b, driver.Verify(barePub.(*ecdsa.PublicKey), ecdsaMech, digest[:], raw))
	}
	ours()
	var spent [2]time.Duration
	watch.spent = 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for i, f := range []func(){ours, bare} {
			begin := time.Now()
			f()
			spent[i] += time.Since(begin)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(spent[0])/float64(b.N)/1000, "µs/token")
	b.ReportMetric(float64(spent[1])/float64(b.N)/1000, "µs/bare")
	b.ReportMetric(float64(spent[0]-watch.spent)/float64(b.N)/1000, "µs/share")
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "ratio")
}

// A stopwatch tells how long a TPM takes.
type stopwatch struct {
	transport.TPM
	spent time.Duration
}

func (s *stopwatch) Send(command []byte) ([]byte, error) {
	begin := time.Now()
	defer func() { s.spent += time.Since(begin) }()
	return s.TPM.Send(command)
}

// bareKey makes a key with no authorization value under the storage root key, and
// loads it.
func bareKey(t testing.TB, sim interface {
	Send([]byte) ([]byte, error)
}) (tpm2.NamedHandle, *tpm2.TPMTPublic) {
	t.Helper()
	srk, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81000001)}.Execute(sim)
	require.NoError(t, err)
	parent := tpm2.AuthHandle{Handle: tpm2.TPMHandle(0x81000001), Name: srk.Name, Auth: tpm2.PasswordAuth(nil)}
	made, err := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true},
		Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256}),
		Unique:           tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	})}.Execute(sim)
	require.NoError(t, err)
	loaded, err := tpm2.Load{ParentHandle: parent, InPrivate: made.OutPrivate, InPublic: made.OutPublic}.Execute(sim)
	require.NoError(t, err)
	public, err := made.OutPublic.Contents()
	require.NoError(t, err)
	return tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}, public
}
