package tpm

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// findings are the lines of a diagnosis, as "severity name: text -> cure".
func findings(list []driver.Finding) []string {
	var lines []string
	for _, f := range list {
		line := fmt.Sprintf("%v %s: %s", f.Severity, f.Name, f.Text)
		if f.Cure != "" {
			line += " -> " + f.Cure
		}
		lines = append(lines, line)
	}
	return lines
}

func finds(t *testing.T, list []driver.Finding, want string) {
	t.Helper()
	lines := findings(list)
	require.True(t, slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, want) }),
		"want %q among\n%s", want, strings.Join(lines, "\n"))
	for _, f := range list {
		require.Equal(t, f.Severity == driver.Good, f.Cure == "", "a cure for what is not in order, and for nothing else: %+v", f)
	}
}

func healthy(t *testing.T, list []driver.Finding) {
	t.Helper()
	for _, f := range list {
		if f.Name != "simulated" { // swtpm
			require.NotEqual(t, driver.Problem, f.Severity, "%v", f)
		}
	}
}

// A bench is a TPM, and a directory for the token.
type bench struct {
	*tpmtest.TPM
	t    *testing.T
	name string
}

func newBench(t *testing.T) *bench {
	sim := tpmtest.Start(t)
	dir := filepath.Join(t.TempDir(), "token")
	return &bench{sim, t, "tpm:swtpm=unix:" + sim.Socket() + ";create=true;dir=" + dir}
}

func (b *bench) diagnose(more string) []driver.Finding {
	b.t.Helper()
	b.Disconnect()
	list, err := driver.Diagnose(b.t.Context(), b.name+more)
	require.NoError(b.t, err)
	handles, err := tpmtest.Loaded(b)
	require.NoError(b.t, err)
	require.Empty(b.t, handles)
	return list
}

func (b *bench) open() *Token {
	b.t.Helper()
	b.Disconnect()
	token, err := driver.Open(b.t.Context(), b.name)
	require.NoError(b.t, err)
	return token.(*Token)
}

func (b *bench) init() {
	b.t.Helper()
	token := b.open()
	require.NoError(b.t, token.InitToken(b.t.Context(), []byte("so pin"), "gateway"))
	require.NoError(b.t, token.Close())
}

func TestDiagnosis(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	t.Log("a new TPM, and no token yet")
	list := b.diagnose("")
	finds(t, list, "ok device: ")
	finds(t, list, "warning simulated: this is a TPM in software")
	finds(t, list, "warning storage-key: there is no storage key at 0x81000001 yet -> cryptoki init makes it")
	finds(t, list, "problem directory: ")
	finds(t, list, "ok lockout: no wrong PINs; 3 lock the TPM")
	finds(t, list, "ok owner: ")
	finds(t, list, "ok endorsement: ")
	finds(t, list, "ok lockout-auth: ")
	finds(t, list, "ok firmware: ")

	b.Disconnect()
	require.NoError(t, b.open().Close())
	finds(t, b.diagnose(""), "problem token: the token is not initialized -> cryptoki init")

	t.Log("a token")
	b.init()
	list = b.diagnose("")
	healthy(t, list)
	finds(t, list, `ok token: "gateway", serial `)
	finds(t, list, "ok storage-key: 0x81000001, 000b")
	finds(t, list, "warning pin: the user has no PIN yet")

	t.Log("another TPM")
	b.Wipe()
	finds(t, b.diagnose(""), "problem foreign: there is no storage key at 0x81000001: the TPM was cleared or replaced")
	other := newBench(t)
	other.TPM = b.TPM
	other.name = strings.Replace(b.name, "/token", "/other", 1)
	other.init()
	list = b.diagnose("")
	finds(t, list, "problem foreign: the storage key at 0x81000001 is not the token's")
}

// Authorizations of the hierarchies, and hierarchies that are disabled.
func TestDiagnosisOfHierarchies(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, h := range []tpm2.TPMHandle{tpm2.TPMRHOwner, tpm2.TPMRHEndorsement, tpm2.TPMRHLockout} {
		_, err := tpm2.HierarchyChangeAuth{AuthHandle: h, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")}}.Execute(b)
		require.NoError(t, err)
	}
	list := b.diagnose("")
	finds(t, list, "warning owner: the owner's authorization is set")
	finds(t, list, "warning endorsement: the authorization of the endorsement hierarchy is set")
	finds(t, list, "ok lockout-auth: the lockout authorization is set")
	finds(t, list, "warning storage-key: there is no storage key at 0x81000001 yet -> cryptoki init makes it, with the owner's authorization")

	b.control(tpm2.TPMRHEndorsement)
	finds(t, b.diagnose(""), "warning endorsement: the endorsement hierarchy is disabled")
	b.control(tpm2.TPMRHOwner)
	finds(t, b.diagnose(""), "problem disabled: the storage hierarchy of the TPM is disabled")
}

// control disables a hierarchy, as firmware does: TPM2_HierarchyControl, Part 3,
// 24.2, with the platform's authorization.
func (b *bench) control(hierarchy tpm2.TPMHandle) {
	b.t.Helper()
	params := append(put32(nil, uint32(hierarchy)), 0)
	cmd := &command{code: tpm2.TPMCCHierarchyControl, handles: []entity{{handle: uint32(tpm2.TPMRHPlatform)}}, needs: 1, auths: []authorization{{}}, params: params}
	raw, err := cmd.encode()
	require.NoError(b.t, err)
	response, err := b.Send(raw)
	require.NoError(b.t, err)
	require.Equal(b.t, tpm2.TPMRCSuccess, tpmtest.ResponseCode(response))
}

func TestDiagnosisOfLockout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.init()
	token := b.open()
	for range 2 {
		require.ErrorIs(t, token.Login(t.Context(), pkcs11.CKU_SO, []byte("wrong")), pkcs11.CKR_PIN_INCORRECT)
	}
	require.NoError(t, token.Close())
	finds(t, b.diagnose(""), "warning lockout: one more wrong PIN locks the TPM: 2 of 3 are used up; one is forgotten every 16m40s with power, all in 33m20s")
	token = b.open()
	token.opts.LastTry = true
	require.Error(t, token.Login(t.Context(), pkcs11.CKU_SO, []byte("wrong")))
	require.NoError(t, token.Close())
	finds(t, b.diagnose(""), "problem lockout: the TPM is locked after 3 wrong PINs")
	require.NoError(t, tpmtest.SetLockout(b, 32, 60, 0))
	finds(t, b.diagnose(""), "warning lockout: 3 of the 32 wrong PINs that lock the TPM are used up; one is forgotten every 1m0s with power, all in 3m0s")
}

func TestDiagnosisOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"no device":      {&fs.PathError{Op: "open", Path: "/dev/tpmrm0", Err: syscall.ENOENT}, "problem device: there is no /dev/tpmrm0 -> enable the TPM"},
		"no permission":  {&fs.PathError{Op: "open", Path: "/dev/tpmrm0", Err: syscall.EACCES}, "problem permission: /dev/tpmrm0 may not be opened by this user -> add the user to the group tss"},
		"in use":         {&fs.PathError{Op: "open", Path: "/dev/tpmrm0", Err: syscall.EBUSY}, "problem device: /dev/tpmrm0 is in use by another process"},
		"something else": {syscall.EIO, "problem device: /dev/tpmrm0: input/output error"},
	} {
		t.Run(name, func(t *testing.T) {
			list := diagnoseDial(t, false, func(context.Context) (transport.TPMCloser, error) { return nil, test.err })
			finds(t, list, test.want)
			finds(t, list, "problem directory: ")
		})
	}
	list, err := driver.Diagnose(t.Context(), "tpm:device="+filepath.Join(t.TempDir(), "tpmrm9")+";mem=true")
	require.NoError(t, err)
	finds(t, list, "problem device: there is no ")
	finds(t, list, "warning medium: ")
	list, err = driver.Diagnose(t.Context(), "tpm:swtpm=tcp:127.0.0.1:1;mem=true")
	require.NoError(t, err)
	finds(t, list, "problem device: 127.0.0.1:1: ")
	_, err = driver.Diagnose(t.Context(), "tpm:nonsense=1")
	require.ErrorIs(t, err, pkcs11.CKR_ARGUMENTS_BAD)
}

// diagnoseDial is the diagnosis of a device that is reached another way.
func diagnoseDial(t *testing.T, simulated bool, dial Dialer) []driver.Finding {
	t.Helper()
	d := &diagnosis{n: &tokenName{device: "/dev/tpmrm0", dir: filepath.Join(t.TempDir(), "token"), opts: &Options{Dial: dial, Simulated: simulated}}}
	d.run(t.Context())
	return d.list
}

// closer makes a connection of a transport.
type closer struct{ transport.TPM }

func (closer) Close() error { return nil }

func TestDiagnosisOfAnIllTPM(t *testing.T) {
	t.Parallel()
	sim := tpmtest.Start(t)
	dialing := func(fault tpmtest.Fault) Dialer {
		return func(context.Context) (transport.TPMCloser, error) {
			f := tpmtest.NewFaults(sim)
			if fault != nil {
				f.On(tpm2.TPMCCGetCapability, -1, fault)
			}
			return closer{f}, nil
		}
	}
	finds(t, diagnoseDial(t, false, dialing(nil)), "problem simulated: this is a TPM in software")
	finds(t, diagnoseDial(t, true, dialing(tpmtest.Code(tpm2.TPMRCFailure))), "problem self-test: /dev/tpmrm0 is in failure mode")
	finds(t, diagnoseDial(t, true, dialing(tpmtest.Cut(12))), "problem device: /dev/tpmrm0 does not answer")
	finds(t, diagnoseDial(t, true, dialing(tpmtest.LoseCommand(errors.New("lost")))), "problem device: /dev/tpmrm0 does not answer: read the properties of the TPM")
	sim.Reset(false)
	finds(t, diagnoseDial(t, true, dialing(nil)), "problem startup: /dev/tpmrm0 is not started")
}

// A storage key that is none, or can be locked.
func TestDiagnosisOfTheStorageKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.persist(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.NoDA = false })
	finds(t, b.diagnose(""), "warning storage-key: the storage key is under protection from dictionary attacks")
	b.Wipe()
	b.persist(func(p *tpm2.TPMTPublic) {
		p.ObjectAttributes.Restricted, p.ObjectAttributes.Decrypt, p.ObjectAttributes.SignEncrypt = false, false, true
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})
	})
	finds(t, b.diagnose(""), "problem storage-key: the key at 0x81000001 is no storage key")
	finds(t, b.diagnose(";parent=0x81000002"), "warning storage-key: there is no storage key at 0x81000002 yet")
}

func (b *bench) persist(change func(*tpm2.TPMTPublic)) {
	b.t.Helper()
	template := tpm2.ECCSRKTemplate
	change(&template)
	r, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(b)
	require.NoError(b.t, err)
	_, err = tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: tpm2.NamedHandle{Handle: r.ObjectHandle, Name: r.Name}, PersistentHandle: 0x81000001}.Execute(b)
	require.NoError(b.t, err)
	_, err = tpm2.FlushContext{FlushHandle: r.ObjectHandle}.Execute(b)
	require.NoError(b.t, err)
}

func TestFlaws(t *testing.T) {
	list, err := flaws()
	require.NoError(t, err)
	require.NotEmpty(t, list)
	for version, want := range map[string]bool{"IFX 7.40": true, "IFX 7.61": true, "IFX 7.62": false, "IFX 7.85": false, "IFX 5.61": true,
		"STM 71.12": true, "STM 71.16": false, "NTC 7.40": false} {
		var f firmware
		var major, minor uint64
		var name string
		_, err := fmt.Sscanf(version, "%s %d.%d", &name, &major, &minor)
		require.NoError(t, err)
		copy(f.manufacturer[:], name)
		f.version = major<<48 | minor<<32 | 1234
		require.Equal(t, want, len(f.knownFlaws()) > 0, version)
		d := &diagnosis{n: &tokenName{opts: &Options{}}}
		d.firmware(f)
		if want {
			finds(t, d.list, "warning firmware: CVE-")
		}
	}
	for _, bad := range []string{"IFX 7.0", "IFX 7 8 | a | b | c", "IFX 7.0 7.1 | a | b"} {
		_, err := parseFlaws(bad)
		require.Error(t, err, bad)
	}
}

// roca makes a modulus of the form that the flawed library makes: a power of 65537
// modulo the product of small primes. Whether it is a product of two primes does
// not matter to the test.
func roca(t *testing.T) *rsa.PublicKey {
	t.Helper()
	product := big.NewInt(1)
	for _, p := range rocaPrimes {
		product.Mul(product, big.NewInt(p))
	}
	power, err := rand.Int(rand.Reader, product)
	require.NoError(t, err)
	n := new(big.Int).Exp(big.NewInt(65537), power, product)
	k := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(3), 2046), product)
	for n = n.Add(n, k.Mul(k, product)); n.Bit(0) == 0; {
		n.Add(n, product)
	}
	require.Equal(t, 2048, n.BitLen())
	return &rsa.PublicKey{N: n, E: 65537}
}

// The keys of a flawed generator are told from others, refused when they are
// generated, and found among those that are stored.
func TestROCA(t *testing.T) {
	for range 20 {
		require.True(t, isROCA(roca(t)))
	}
	for range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		require.False(t, isROCA(&key.PublicKey))
	}
	weak, err := parsePublic(rsaPublic(generated|objSign|objDecrypt, 2048, 0, roca(t).N.Bytes()))
	require.NoError(t, err)
	err = refuseWeak(weak)
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
	require.ErrorContains(t, err, "ROCA")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	require.NoError(t, refuseWeak(&publicArea{key: &ec.PublicKey}))

	d := new(diagnosis)
	blob := &keyBlob{public: weak.raw, private: []byte{1}}
	require.Equal(t, 1, d.weak(&bundle{objects: []stored{{flags: flagKey, blob: blob.encode()}, {flags: flagPrivate}}}))
	finds(t, d.list, "problem weak-key: an RSA key (")
}

// What is stored is looked at without a PIN: a damaged record, a newer version.
func TestDiagnosisOfRecords(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		record string
		change func(b []byte) []byte
		want   string
	}{
		"damaged":           {nameToken, func(b []byte) []byte { b[9] ^= 1; return b }, "problem record: record token"},
		"newer":             {nameToken, func(b []byte) []byte { b = b[:len(b)-crcLen]; b[0]++; return appendCRC(b) }, "problem version: record token has format version 3"},
		"damaged inventory": {nameInventory, func([]byte) []byte { return []byte("damaged") }, "problem record: record inventory"},
		"accept":            {nameToken, func(b []byte) []byte { return b }, "warning accept: the name says accept=true"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.init()
			token := b.open()
			raw, err := token.store.Load(test.record)
			if test.record == nameToken {
				require.NoError(t, err)
			}
			require.NoError(t, token.store.Save(test.record, test.change(raw)))
			require.NoError(t, token.Close())
			options := ""
			if name == "accept" {
				options = ";accept=true"
			}
			finds(t, b.diagnose(options), test.want)
		})
	}
}
