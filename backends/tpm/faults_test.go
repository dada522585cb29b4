package tpm_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// What may happen to a command: every code that the backend has an answer to,
// responses that are none, and none at all.
func faults() map[string]tpmtest.Fault {
	all := map[string]tpmtest.Fault{
		"the command is lost":              tpmtest.LoseCommand(io.ErrUnexpectedEOF),
		"the response is lost":             tpmtest.LoseResponse(io.ErrUnexpectedEOF),
		"the response is empty":            tpmtest.Cut(0),
		"the response is cut":              tpmtest.Cut(9),
		"the response is cut after 12":     tpmtest.Cut(12),
		"the response is honestly cut":     tpmtest.CutHonestly(10),
		"the response is honestly cut, 14": tpmtest.CutHonestly(14),
		"the response is of another TPM":   tpmtest.Replace([]byte{0x80, 0x02, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}),
		"the response is too long":         tpmtest.Replace(make([]byte, 5000)),
	}
	for _, bit := range []int{3, 40, 79, 81, 100, 130, 180, 300, 555, 900} {
		all[fmt.Sprintf("bit %d of the response is flipped", bit)] = tpmtest.Flip(bit)
	}
	for _, rc := range codes {
		all[fmt.Sprintf("the TPM says %v", rc)] = tpmtest.Code(rc)
	}
	return all
}

const (
	parameter1 = tpm2.TPMRC(0x140)
	session1   = tpm2.TPMRC(0x900)
	handle1    = tpm2.TPMRC(0x100)
)

var codes = []tpm2.TPMRC{
	tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate, tpm2.TPMRCNVUnavailable, tpm2.TPMRCCanceled,
	tpm2.TPMRCLockout, tpm2.TPMRCAuthFail | session1, tpm2.TPMRCBadAuth | session1, tpm2.TPMRCAuthUnavailable, tpm2.TPMRCAuthMissing, tpm2.TPMRCAuthType, tpm2.TPMRCAuthContext,
	tpm2.TPMRCPolicyFail, tpm2.TPMRCPolicy, tpm2.TPMRCPCR, tpm2.TPMRCPCRChanged, tpm2.TPMRCExpired, tpm2.TPMRCPolicyCC,
	tpm2.TPMRCObjectMemory, tpm2.TPMRCMemory, tpm2.TPMRCObjectHandles, tpm2.TPMRCSessionMemory, tpm2.TPMRCSessionHandles, tpm2.TPMRCContextGap,
	tpm2.TPMRCReferenceH0, tpm2.TPMRCReferenceS0, tpm2.TPMRCHandle | handle1, tpm2.TPMRCInitialize, tpm2.TPMRCFailure, tpm2.TPMRCReboot, tpm2.TPMRCUpgrade,
	tpm2.TPMRCIntegrity | parameter1, tpm2.TPMRCSize | parameter1, tpm2.TPMRCValue | parameter1,
	tpm2.TPMRCScheme | parameter1, tpm2.TPMRCHash | parameter1, tpm2.TPMRCMode | parameter1, tpm2.TPMRCKDF | parameter1, tpm2.TPMRCMGF | parameter1, tpm2.TPMRCAsymmetric | parameter1, tpm2.TPMRCSymmetric | parameter1,
	tpm2.TPMRCKey | handle1, tpm2.TPMRCAttributes | parameter1, tpm2.TPMRCType | parameter1, tpm2.TPMRCCurve | parameter1, tpm2.TPMRCKeySize | parameter1, tpm2.TPMRCECCPoint | parameter1,
	tpm2.TPMRCSignature | parameter1, tpm2.TPMRCTicket | parameter1,
	tpm2.TPMRCNVSpace, tpm2.TPMRCNVDefined, tpm2.TPMRCNVLocked, tpm2.TPMRCNVAuthorization, tpm2.TPMRCNVUninitialized, tpm2.TPMRCNVRange, tpm2.TPMRCNVSize,
	tpm2.TPMRCCommandCode, 0xB0000 | tpm2.TPMRCCommandCode, tpm2.TPMRCDisabled, tpm2.TPMRCCommandSize, tpm2.TPMRCHierarchy | handle1,
	tpm2.TPMRCLocality, tpm2.TPMRCExclusive, tpm2.TPMRCUnbalanced, tpm2.TPMRCTooManyContexts,
}

// Whatever happens to whichever command of an operation, the outcome is success
// or an error with a code; what the TPM was asked to do afterwards is done; no
// try of a PIN is spent; the store holds all of a change or nothing of it; and
// nothing stays behind in the TPM.
func TestFaults(t *testing.T) {
	ecMech := &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}
	generate := func(ctx context.Context, token *tpm.Token) (driver.Object, error) {
		public, private := templates("new", true)
		_, key, err := token.GenerateKeyPair(ctx, ecMech, public.Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)), private, nil)
		return key, err
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	operations := []struct {
		name string
		// warm says that the key is loaded and the session there.
		warm bool
		// every so many faults are tried at one command, others at the next.
		every int
		do    func(ctx context.Context, token *tpm.Token, key driver.Signer) error
	}{
		{"sign with a loaded key", true, 1, func(ctx context.Context, _ *tpm.Token, key driver.Signer) error { return trySign(ctx, key) }},
		{"sign with a key that is not loaded", false, 1, func(ctx context.Context, _ *tpm.Token, key driver.Signer) error { return trySign(ctx, key) }},
		{"log in", false, 2, func(ctx context.Context, token *tpm.Token, _ driver.Signer) error {
			return token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN)
		}},
		{"change the PIN", false, 5, func(ctx context.Context, token *tpm.Token, _ driver.Signer) error {
			return token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, userPIN)
		}},
		{"generate a key", false, 1, func(ctx context.Context, token *tpm.Token, _ driver.Signer) error {
			_, err := generate(ctx, token)
			return err
		}},
		{"import a key", false, 3, func(ctx context.Context, token *tpm.Token, _ driver.Signer) error {
			value, err := other.Bytes()
			if err != nil {
				return err
			}
			_, private := templates("new", true, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)),
				pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256), pkcs11.Attr(pkcs11.CKA_VALUE, value))
			_, err = token.CreateObject(ctx, private, nil)
			return err
		}},
		{"make a key persistent", false, 5, func(ctx context.Context, token *tpm.Token, _ driver.Signer) error {
			key, err := generate(ctx, token)
			if err != nil {
				return err
			}
			if err := token.Persist(ctx, key); err != nil {
				return err
			}
			return nil
		}},
		{"random numbers", false, 3, func(ctx context.Context, token *tpm.Token, _ driver.Signer) error {
			return token.ReadRandom(ctx, make([]byte, 40))
		}},
		{"attest a key", false, 4, func(ctx context.Context, token *tpm.Token, key driver.Signer) error {
			data, err := token.Attest(ctx, key, []byte("nonce"))
			if err != nil {
				return err
			}
			_, err = verified(data)
			return err
		}},
		{"answer a challenge", false, 4, func(ctx context.Context, token *tpm.Token, key driver.Signer) error {
			return answers(ctx, token, key)
		}},
		{"export a key file", false, 2, func(ctx context.Context, token *tpm.Token, key driver.Signer) error {
			_, err := token.ExportTSS2(ctx, key, []byte("between"))
			return err
		}},
		{"import a key file", false, 3, func(ctx context.Context, token *tpm.Token, key driver.Signer) error {
			file, err := token.ExportTSS2(ctx, key, []byte("between"))
			if err != nil {
				return err
			}
			_, _, err = token.ImportTSS2(ctx, file, []byte("between"), "new")
			return err
		}},
		{"reset the lockout", false, 2, func(ctx context.Context, token *tpm.Token, _ driver.Signer) error {
			return token.ResetLockout(ctx, nil)
		}},
		{"probe", false, 2, func(ctx context.Context, token *tpm.Token, _ driver.Signer) error { return token.Probe(ctx) }},
	}
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			sim := patient(t)
			way := tpmtest.NewFaults(sim)
			store := new(pal.Mem)
			token := initialized(t, way, store, tpm.Options{})
			kept := newEC(t, token, "kept")
			ctx := t.Context()
			before := tries(t, sim)

			prepare := func() {
				way.Reset()
				objects, err := token.Objects(ctx)
				require.NoError(t, err)
				for _, o := range objects {
					if o.Attributes().Text(pkcs11.CKA_LABEL) == "new" {
						require.NoError(t, token.Destroy(ctx, o))
					}
				}
				if op.warm {
					sign(t, kept)
				} else {
					// As Logout would do, but without the PIN to enter again.
					tpm.Unload(token)
				}
				way.Reset()
			}
			prepare()
			require.NoError(t, op.do(ctx, token, kept)) // and makes what is made once
			prepare()
			require.NoError(t, op.do(ctx, token, kept))
			commands := way.Count()
			require.NotZero(t, commands)
			all := faults()
			for n, what := range slices.Sorted(maps.Keys(all)) {
				fault := all[what]
				for i := range commands {
					if t.Failed() {
						return
					}
					if (n+i)%op.every != 0 || raceEnabled && (n+i)%(5*op.every) != 0 {
						continue // another command has it
					}
					prepare()
					where := fmt.Sprintf("%s at command %d of %d", what, i+1, commands)
					way.At(i, fault)
					err := op.do(ctx, token, kept)
					if err != nil {
						checkError(t, where, err)
					}
					way.Reset()
					// The second time it works, with nothing in the TPM but the key and the
					// session, and what the operation has loaded.
					require.NoError(t, trySign(ctx, kept), "%s: afterwards", where)
					left, lerr := tpmtest.Loaded(sim)
					require.NoError(t, lerr)
					most := 2
					if op.name == "make a key persistent" {
						most++ // it was loaded for that
					}
					require.LessOrEqual(t, len(left), most, "%s: %x is left, after %v", where, left, err)
					objects, err := token.Objects(ctx)
					require.NoError(t, err, where)
					pairs := 0
					for _, o := range objects {
						if o.Attributes().Text(pkcs11.CKA_LABEL) == "new" {
							pairs++
						}
					}
					if op.name == "generate a key" {
						require.Contains(t, []int{0, 2}, pairs, where)
					}
					require.Equal(t, before, tries(t, sim), "%s: wrong authorizations that the TPM has counted", where)
				}
			}
			prepare()
			require.NoError(t, token.Close())
			handles, err := tpmtest.Loaded(sim)
			require.NoError(t, err)
			require.Empty(t, handles, "left in the TPM")
			persistent, err := tpmtest.Persistent(sim)
			require.NoError(t, err)
			require.Len(t, persistent, 1, "the storage root key is all that stays")
		})
	}
}

// checkError looks that an error is one that an application can act on.
func checkError(t *testing.T, where string, err error) {
	t.Helper()
	var code pkcs11.Error
	if !errors.As(err, &code) || code == pkcs11.CKR_GENERAL_ERROR {
		t.Errorf("%s: an error without a code: %v", where, err)
	}
	if errors.Is(err, errWrongSignature) {
		t.Errorf("%s: a wrong signature was returned: %v", where, err)
	}
}

// tries is how many wrong authorizations the TPM has counted.
func tries(t testing.TB, sim *tpmtest.TPM) uint32 {
	t.Helper()
	r, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTLockoutCounter), PropertyCount: 1}.Execute(sim)
	require.NoError(t, err)
	p, err := r.CapabilityData.Data.TPMProperties()
	require.NoError(t, err)
	return p.TPMProperty[0].Value
}
