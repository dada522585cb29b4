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
// takes, through go-tpm, and with what others send. All are made in turn in one
// run, over one swtpm. The ratios are what to look at:
//
//	ratio        of the token to TPM2_Sign with a password and one verification
//	share        what is ours of the time: all but waiting for the TPM
//	lead         of the token to loading the key each time: ReadPublic, Load, Sign,
//	             FlushContext, as smallstep's tpmkms does
func BenchmarkSign(b *testing.B) {
	sim := patient(b)
	watch := &stopwatch{TPM: sim}
	token := initialized(b, watch, new(pal.Mem), tpm.Options{})
	key := newEC(b, token, "key")
	ours := func() {
		_, err := key.Sign(b.Context(), ecdsaMech, digest[:])
		require.NoError(b, err)
	}
	handle, public, private := bareKey(b, sim)
	barePub, err := tpm2.Pub(*public)
	require.NoError(b, err)
	signBare := func(h tpm2.NamedHandle) *tpm2.SignResponse {
		r, err := tpm2.Sign{
			KeyHandle:  tpm2.AuthHandle{Handle: h.Handle, Name: h.Name, Auth: tpm2.PasswordAuth(nil)},
			Digest:     tpm2.TPM2BDigest{Buffer: digest[:]},
			InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		}.Execute(sim)
		require.NoError(b, err)
		return r
	}
	bare := func() {
		r := signBare(handle)
		sig, err := r.Signature.Signature.ECDSA()
		require.NoError(b, err)
		raw := make([]byte, 64)
		copy(raw[32-len(sig.SignatureR.Buffer):], sig.SignatureR.Buffer)
		copy(raw[64-len(sig.SignatureS.Buffer):], sig.SignatureS.Buffer)
		require.NoError(b, driver.Verify(barePub.(*ecdsa.PublicKey), ecdsaMech, digest[:], raw))
	}
	_, err = tpm2.FlushContext{FlushHandle: handle.Handle}.Execute(sim)
	require.NoError(b, err)
	srk, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81000001)}.Execute(sim)
	require.NoError(b, err)
	load := func() tpm2.NamedHandle {
		r, err := tpm2.Load{
			ParentHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(0x81000001), Name: srk.Name, Auth: tpm2.PasswordAuth(nil)},
			InPrivate:    *private, InPublic: tpm2.New2B(*public),
		}.Execute(sim)
		require.NoError(b, err)
		return tpm2.NamedHandle{Handle: r.ObjectHandle, Name: r.Name}
	}
	others := func() {
		_, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81000001)}.Execute(sim)
		require.NoError(b, err)
		h := load()
		signBare(h)
		_, err = tpm2.FlushContext{FlushHandle: h.Handle}.Execute(sim)
		require.NoError(b, err)
	}
	ours()
	others()
	handle = load()
	var spent [3]time.Duration
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
	_, err = tpm2.FlushContext{FlushHandle: handle.Handle}.Execute(sim)
	require.NoError(b, err)
	for range b.N {
		begin := time.Now()
		others()
		spent[2] += time.Since(begin)
	}
	b.ReportMetric(float64(spent[0])/float64(b.N)/1000, "µs/token")
	b.ReportMetric(float64(spent[1])/float64(b.N)/1000, "µs/bare")
	b.ReportMetric(float64(spent[2])/float64(b.N)/1000, "µs/others")
	b.ReportMetric(float64(spent[0]-watch.spent)/float64(b.N)/1000, "µs/share")
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "ratio")
	b.ReportMetric(float64(spent[2])/float64(spent[0]), "lead")
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
}) (tpm2.NamedHandle, *tpm2.TPMTPublic, *tpm2.TPM2BPrivate) {
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
	return tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}, public, &made.OutPrivate
}
