package conformance

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The 27 tests of FIT, FreeRTOS-Libraries-Integration-Tests, and with them those
// of AFQP that they come from, with the same calls in the same order. What Go's
// interface cannot express is replaced:
//
//   - C_Initialize and C_Finalize are the opening and Module.Close. There is no
//     C_GetFunctionList, and no reserved pointer.
//   - A NULL buffer is a nil slice. A NULL value in GetAttributeValue, which asks
//     for the length, has no counterpart: values are returned whole, and their
//     length is what the tests expect of it.
//   - A slot list that is too short has no counterpart. The list of slots with a
//     token and the list of all are compared instead.
//   - An invalid handle of a session is a session that was closed.
//   - Buffers that must stay zero: no value comes with a refusal.
func fitCases() []Case {
	c := []Case{
		{ID: "FIT-01", Name: "the module can be closed and opened from any state", Clause: "v2.40 §5.4",
			Ancestors: both("StartFinish_FirstTest"), run: fitFirst},
		{ID: "FIT-02", Name: "a module describes itself as Cryptoki 2.40 or newer", Clause: "v2.40 §5.4, C_GetInfo",
			Ancestors: both("GetFunctionList"), run: fitInfo},
		{ID: "FIT-03", Name: "a module that was closed says so, and opens again", Clause: "v2.40 §5.4, C_Initialize, C_Finalize",
			Ancestors: both("InitializeFinalize"), run: fitInitializeFinalize},
		{ID: "FIT-04", Name: "the list of slots has the slot, however it is asked for", Clause: "v2.40 §5.5, C_GetSlotList",
			Ancestors: both("GetSlotList"), run: fitSlots},
		{ID: "FIT-05", Name: "a read-only session opens, and none does once the module is closed", Clause: "v2.40 §5.6, C_OpenSession",
			Ancestors: both("OpenSessionCloseSession"), run: fitOpenSession},
		{ID: "FIT-06", Name: "the mechanism table says what the profile promises", Clause: "v2.40 §5.5, C_GetMechanismInfo",
			Ancestors: both("Capabilities"), run: fitCapabilities},
		{ID: "FIT-07", Name: "a digest in two steps is the known one, its length known before", Clause: "v2.40 §5.10",
			Ancestors: both("Digest"), needs: needs(sha256Row), run: fitDigest},
		{ID: "FIT-08", Name: "a digest survives a short buffer and calls on other sessions, and nothing else", Clause: "v2.40 §5.10, §5.2",
			Ancestors: both("Digest_ErrorConditions"), needs: needs(sha256Row), run: fitDigestErrors},
		{ID: "FIT-09", Name: "random bytes differ, and closing the last session logs out", Clause: "v2.40 §5.14, C_GenerateRandom",
			Ancestors: both("GenerateRandom"), needs: needs(wantsRandom), run: fitRandom},
		{ID: "FIT-10", Name: "threads draw random bytes at the same time", Clause: "v2.40 §5.14, C_GenerateRandom",
			Ancestors: both("GenerateRandomMultiThread"), needs: needs(wantsRandom), run: loads(fitRandomThreads)},

		{ID: "FIT-11", Name: "the RSA credentials are imported", Clause: "v2.40 §5.7, C_CreateObject",
			Ancestors: []string{"FIT PKCS11_RSA_CreateObject", "AFQP AFQP_CreateObject"}, needs: needs(rsaObjects, wantsImport, wantsFresh), run: fitRSACreate},
		{ID: "FIT-12", Name: "RSA objects are found by label and class, and nothing else is", Clause: "v2.40 §5.7, C_FindObjects",
			Ancestors: rsaTest("FindObject"), needs: needs(rsaObjects, wantsProvision), run: provisioned(rsaMethods, fitFind)},
		{ID: "FIT-13", Name: "an RSA certificate is read whole and the private exponent never", Clause: "v2.40 §5.7, C_GetAttributeValue",
			Ancestors: rsaTest("GetAttributeValue"), needs: needs(rsaObjects, wantsProvision), run: provisioned(rsaMethods, fitRSAGet)},
		{ID: "FIT-14", Name: "an RSA signature is the one expected, and its length can be asked for", Clause: "v2.40 §5.11, C_Sign; mechanisms §2.1.6",
			Ancestors: rsaTest("Sign"), needs: needs(rsaObjects, wantsProvision, row(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_SIGN, 2048)), run: provisioned(rsaMethods, fitRSASign)},
		{ID: "FIT-15", Name: "threads find RSA objects at the same time", Clause: "v2.40 §5.7, C_FindObjects",
			Ancestors: rsaTest("FindObjectMultiThread"), needs: needs(rsaObjects, wantsProvision), run: provisioned(rsaMethods, fitFindThreads)},
		{ID: "FIT-16", Name: "threads read RSA objects at the same time", Clause: "v2.40 §5.7, C_GetAttributeValue",
			Ancestors: []string{"FIT PKCS11_RSA_GetAttributeValueMultiThread"}, needs: needs(rsaObjects, wantsProvision), run: provisioned(rsaMethods, fitRSAGetThreads)},
		{ID: "FIT-17", Name: "an RSA key pair is generated and signs raw blocks", Clause: "v2.40 §5.13, C_GenerateKeyPair; mechanisms §2.1.5",
			Ancestors: both("RSA_GenerateKeyPair"),
			needs: needs(wantsRSA, wantsFresh, row(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKF_GENERATE_KEY_PAIR, 2048),
				row(pkcs11.CKM_RSA_X_509, pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY, 2048)), run: fitRSAGenerate},
		{ID: "FIT-18", Name: "the RSA credentials are destroyed and found no more", Clause: "v2.40 §5.7, C_DestroyObject",
			Ancestors: rsaTest("DestroyObject"), needs: needs(rsaObjects, wantsImport, wantsFresh, wantsDestroy), run: fitDestroy(provisionRSA)},

		{ID: "FIT-19", Name: "a generated EC key pair has the attributes it should", Clause: "v2.40 §5.13, C_GenerateKeyPair",
			Ancestors: ecTest("GenerateKeyPair"), needs: needs(ecGen, wantsFresh, wantsCreate), run: fitECGenerate},
		{ID: "FIT-20", Name: "the EC credentials are imported, over those that are there", Clause: "v2.40 §5.7, C_CreateObject",
			Ancestors: ecTest("CreateObject"), needs: needs(wantsEC, wantsImport, wantsFresh, wantsCreate), run: fitECCreate},
		{ID: "FIT-21", Name: "EC objects are found by label and class, and nothing else is", Clause: "v2.40 §5.7, C_FindObjects",
			Ancestors: ecTest("FindObject"), needs: needs(ecObjects), run: provisioned(ecMethods, fitFind)},
		{ID: "FIT-22", Name: "the attributes of EC objects are read, in the lengths expected", Clause: "v2.40 §5.7, C_GetAttributeValue",
			Ancestors: ecTest("GetAttributeValue"), needs: needs(ecObjects), run: provisioned(ecMethods, fitECGet)},
		{ID: "FIT-23", Name: "an ECDSA signature verifies outside, and attributes are read beside an open one", Clause: "v2.40 §5.11, C_Sign; mechanisms §2.3.1",
			Ancestors: ecTest("Sign"), needs: needs(ecObjects, ecSignRow), run: provisioned(ecMethods, fitECSign)},
		{ID: "FIT-24", Name: "ECDSA signatures of the token and of others verify", Clause: "v2.40 §5.12, C_Verify",
			Ancestors: ecTest("Verify"), needs: needs(ecObjects, ecSignRow, ecVerifyRow), run: provisioned(ecMethods, fitECVerify)},
		{ID: "FIT-25", Name: "threads find EC objects at the same time", Clause: "v2.40 §5.7, C_FindObjects",
			Ancestors: ecTest("FindObjectMultiThread"), needs: needs(ecObjects), run: provisioned(ecMethods, fitFindThreads)},
		{ID: "FIT-26", Name: "threads read EC objects at the same time, through one session too", Clause: "v2.40 §5.7, C_GetAttributeValue",
			Ancestors: ecTest("GetAttributeValueMultiThread"), needs: needs(ecObjects), run: provisioned(ecMethods, fitECGetThreads)},
		{ID: "FIT-27", Name: "threads sign and verify at the same time with one key", Clause: "v2.40 §5.11, §5.12",
			Ancestors: ecTest("SignVerifyMultiThread"), needs: needs(ecObjects, ecSignRow, ecVerifyRow), run: provisioned(ecMethods, fitSignVerifyThreads)},
		{ID: "FIT-28", Name: "the EC credentials are destroyed and found no more", Clause: "v2.40 §5.7, C_DestroyObject",
			Ancestors: ecTest("DestroyObject"), needs: needs(ecObjects, wantsFresh, wantsDestroy), run: fitDestroy(provisionEC)},
	}
	for i := range c {
		c[i].Family = "fit"
		c[i].serial = true // the credentials are under the same labels in all of them
	}
	return c
}

func both(name string) []string { return []string{"FIT PKCS11_" + name, "AFQP AFQP_" + name} }
func rsaTest(name string) []string {
	return []string{"FIT PKCS11_RSA_" + name, "AFQP AFQP_RSA_" + name}
}
func ecTest(name string) []string { return []string{"FIT PKCS11_EC_" + name, "AFQP AFQP_EC_" + name} }

var (
	sha256Row   = row(pkcs11.CKM_SHA256, pkcs11.CKF_DIGEST, 0)
	ecSignRow   = row(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 256)
	ecVerifyRow = row(pkcs11.CKM_ECDSA, pkcs11.CKF_VERIFY, 256)
	// wantsProvision is for tests that run once for each way of provisioning.
	wantsProvision = need{"profile Import or Preprovisioned", "the profile has neither Import nor Preprovisioned",
		func(e *env) bool { return e.profile.Import || e.profile.Preprovisioned }}
	rsaObjects = []need{wantsRSA, wantsStore}
	ecObjects  = []need{wantsEC, wantsStore, {"profile Import, Generate or Preprovisioned", "the profile has none of Import, Generate and Preprovisioned",
		func(e *env) bool { return e.profile.Import || e.profile.Generate || e.profile.Preprovisioned }}}
	wantsStore = ability("CreateObject, or profile Preprovisioned", "the token creates no objects (driver.Creator)",
		func(e *env) bool { return e.can.create || e.profile.Preprovisioned })
)

// loads runs a case with each number of threads.
func loads(f func(*T, Load)) func(*T) {
	return func(t *T) {
		for _, l := range t.e.target.Loads {
			t.step(fmt.Sprintf("%d threads of %d loops", l.Threads, l.Loops), func() { f(t, l) })
		}
	}
}

// methods are the ways of provisioning that the profile allows, in FIT's order.
type method struct {
	name      string
	on        func(Profile) bool
	provision func(*T, cryptoki.Session)
}

var (
	rsaMethods = []method{
		{"preprovisioned", func(p Profile) bool { return p.Preprovisioned }, nil},
		{"imported", func(p Profile) bool { return p.Import && !p.Preprovisioned }, importRSACredentials},
	}
	ecMethods = []method{
		{"preprovisioned", func(p Profile) bool { return p.Preprovisioned }, nil},
		{"imported", func(p Profile) bool { return p.Import && !p.Preprovisioned }, importECCredentials},
		{"generated", func(p Profile) bool { return p.Generate && !p.Preprovisioned }, generateECCredentials},
	}
)

// credentials is what a test has that ran after provisioning.
type credentials struct {
	s      *session
	method string
}

// known reports whether the keys are those of the qualification tests.
func (c credentials) known() bool { return c.method == "imported" }

// provisioned runs a test for each way of provisioning, in one session as FIT
// does: an operation that one run leaves open is there in the next.
func provisioned(methods []method, test func(*T, credentials)) func(*T) {
	return func(t *T) {
		s := t.session()
		for _, m := range methods {
			if !m.on(t.e.profile) {
				continue
			}
			t.step(m.name, func() {
				if m.provision != nil {
					t.destroyCredentials(s)
					m.provision(t, s)
				}
				test(t, credentials{s, m.name})
			})
		}
	}
}

// destroyCredentials is prvDestroyTestCredentials: destroy what is under the
// labels, and look that it is gone.
func (t *T) destroyCredentials(s cryptoki.Session) {
	l := t.e.labels
	places := []struct {
		label string
		class pkcs11.ObjectClass
	}{{l.Cert, pkcs11.CKO_CERTIFICATE}, {l.PrivateKey, pkcs11.CKO_PRIVATE_KEY}, {l.PublicKey, pkcs11.CKO_PUBLIC_KEY},
		{l.CodeVerifyKey, pkcs11.CKO_PUBLIC_KEY}, {l.JITPCert, pkcs11.CKO_CERTIFICATE}, {l.RootCert, pkcs11.CKO_CERTIFICATE}}
	if !t.e.profile.JITP {
		places = places[:3]
	}
	for _, p := range places {
		t.e.remember(p.label)
		for range 100 { // more objects than any test leaves
			h := t.find(s, p.label, p.class)
			if h == 0 {
				break
			}
			t.ok(s.DestroyObject(t.ctx, h))
		}
	}
	for _, p := range places {
		h := t.find(s, p.label, p.class)
		t.check(h == 0, "%v %q is found after it was destroyed", p.class, p.label)
	}
}

func importRSACredentials(t *T, s cryptoki.Session) {
	l := t.e.labels
	t.create(s, rsaPublicTemplate(l.PublicKey, &rsaKey.PublicKey))
	t.create(s, rsaPrivateTemplate(l.PrivateKey, rsaKey))
	t.create(s, certTemplate(l.Cert, rsaCert))
}

func importECCredentials(t *T, s cryptoki.Session) {
	l := t.e.labels
	t.create(s, ecPublicTemplate(l.PublicKey, &ecKey.PublicKey))
	t.create(s, ecPrivateTemplate(l.PrivateKey, ecKey))
	t.create(s, certTemplate(l.Cert, ecCert))
}

// generateECCredentials keeps a key pair that is there, as the reference does,
// and stores the certificate of the test key, which does not match it.
func generateECCredentials(t *T, s cryptoki.Session) {
	l := t.e.labels
	priv, pub := t.find(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY), t.find(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY)
	if priv == 0 || pub == 0 || pkcs11.KeyType(t.get(s, priv, pkcs11.CKA_KEY_TYPE).Uint()) != pkcs11.CKK_EC {
		public, private := ecGenerateTemplates(l.PublicKey, l.PrivateKey)
		pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public, private)
		t.ok(err)
		t.check(pub != 0 && priv != 0, "GenerateKeyPair returned the handles %d and %d", pub, priv)
	}
	if t.find(s, l.Cert, pkcs11.CKO_CERTIFICATE) == 0 {
		t.create(s, certTemplate(l.Cert, ecCert))
	}
}

// provisionRSA and provisionEC provision in the best way there is.
func provisionRSA(t *T, s cryptoki.Session) { importRSACredentials(t, s) }

func provisionEC(t *T, s cryptoki.Session) {
	if t.e.profile.Import {
		importECCredentials(t, s)
	} else {
		generateECCredentials(t, s)
	}
}

// --- Full_PKCS11_StartFinish

func fitFirst(t *T) {
	m := t.module()
	_, err := m.Info(t.ctx)
	t.ok(err)
	t.closeModule()
	t.open(roSession)
	t.closeModule()
}

func fitInfo(t *T) {
	info, err := t.module().Info(t.ctx)
	t.ok(err)
	v := info.CryptokiVersion
	t.check(v.Major > 2 || v.Major == 2 && v.Minor >= 40, "CryptokiVersion is %v", v)
	t.check(len(info.ManufacturerID) <= 32 && len(info.LibraryDescription) <= 32, "a text is longer than 32 bytes: %q, %q", info.ManufacturerID, info.LibraryDescription)
	_, err = t.reopen().Info(t.ctx)
	t.ok(err)
}

func fitInitializeFinalize(t *T) {
	m := t.module()
	t.closeModule()
	t.want(m.Close(), pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	_, err := t.module().Slots(t.ctx, true)
	t.ok(err)
	t.closeModule()
	_, err = m.Slots(t.ctx, true)
	t.want(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
}

func fitSlots(t *T) {
	m := t.module()
	present, err := m.Slots(t.ctx, true)
	t.ok(err)
	t.check(len(present) > 0, "there is no slot with a token")
	again, err := m.Slots(t.ctx, true)
	t.ok(err)
	t.equal("the list is another the second time", again, present)
	all, err := m.Slots(t.ctx, false)
	t.ok(err)
	seen := map[pkcs11.SlotID]bool{}
	for _, id := range all {
		t.check(!seen[id], "slot %d is listed twice", id)
		seen[id] = true
	}
	for _, id := range present {
		t.check(seen[id], "slot %d has a token and is not among all slots", id)
		info, err := m.SlotInfo(t.ctx, id)
		t.ok(err)
		t.check(info.Flags&pkcs11.CKF_TOKEN_PRESENT != 0, "slot %d is listed with a token, and CKF_TOKEN_PRESENT is not set", id)
	}
	present[0]++ // the slice is the caller's
	again, err = m.Slots(t.ctx, true)
	t.ok(err)
	t.check(again[0] != present[0], "a change to the returned list changed the module's")
}

func fitOpenSession(t *T) {
	m := t.module()
	s, err := m.OpenSession(t.ctx, t.e.slot, roSession)
	t.ok(err)
	t.ok(s.Close())
	t.closeModule()
	_, err = m.OpenSession(t.ctx, t.e.slot, roSession)
	t.want(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
}

// --- Full_PKCS11_Capabilities

func fitCapabilities(t *T) {
	m, p := t.module(), t.e.profile
	info := func(typ pkcs11.MechanismType) (pkcs11.MechanismInfo, bool) {
		i, err := m.MechanismInfo(t.ctx, t.e.slot, typ)
		t.want(err, 0, pkcs11.CKR_MECHANISM_INVALID)
		return i, err == nil
	}
	includes := func(typ pkcs11.MechanismType, i pkcs11.MechanismInfo, bits uint64) {
		t.check(i.MinKeySize <= bits && bits <= i.MaxKeySize, "%v: the key sizes are %d to %d, without %d", typ, i.MinKeySize, i.MaxKeySize, bits)
	}
	i, rsaOK := info(pkcs11.CKM_RSA_PKCS)
	if rsaOK {
		t.check(i.Flags&pkcs11.CKF_SIGN != 0, "CKM_RSA_PKCS: the flags %#x lack CKF_SIGN", i.Flags)
		includes(pkcs11.CKM_RSA_PKCS, i, 2048)
		x, err := m.MechanismInfo(t.ctx, t.e.slot, pkcs11.CKM_RSA_X_509)
		t.ok(err)
		t.check(x.Flags&pkcs11.CKF_VERIFY != 0, "CKM_RSA_X_509: the flags %#x lack CKF_VERIFY", x.Flags)
		includes(pkcs11.CKM_RSA_X_509, x, 2048)
	}
	i, ecOK := info(pkcs11.CKM_ECDSA)
	if ecOK {
		t.check(i.Flags&(pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY) != 0, "CKM_ECDSA: the flags %#x have neither CKF_SIGN nor CKF_VERIFY", i.Flags)
		includes(pkcs11.CKM_ECDSA, i, 256)
	}
	i, genOK := info(pkcs11.CKM_EC_KEY_PAIR_GEN)
	if genOK && !p.Preprovisioned {
		t.check(i.Flags&pkcs11.CKF_GENERATE_KEY_PAIR != 0, "CKM_EC_KEY_PAIR_GEN: the flags %#x lack CKF_GENERATE_KEY_PAIR", i.Flags)
		includes(pkcs11.CKM_EC_KEY_PAIR_GEN, i, 256)
	}
	i, err := m.MechanismInfo(t.ctx, t.e.slot, pkcs11.CKM_SHA256)
	t.ok(err)
	t.check(i.Flags&pkcs11.CKF_DIGEST != 0, "CKM_SHA256: the flags %#x lack CKF_DIGEST", i.Flags)
	// The cross-checks of AFQP, in the direction that a mechanism table which
	// also lists verification allows.
	t.check(!p.RSA || rsaOK, "the profile has RSA, and the table no CKM_RSA_PKCS")
	t.check(!p.EC || ecOK, "the profile has EC, and the table no CKM_ECDSA")
	if !p.Preprovisioned && p.EC {
		t.check(p.Generate == genOK, "the profile has Generate %v, and the table CKM_EC_KEY_PAIR_GEN %v", p.Generate, genOK)
	}
}

// --- Full_PKCS11_NoObject

func fitDigest(t *T) {
	s := t.session()
	// The test passes parameters that are whatever the stack held.
	t.ok(s.DigestInit(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_SHA256, Params: []byte("whatever the stack held")}))
	t.ok(s.DigestUpdate(t.ctx, shaMessage))
	n, err := s.DigestFinal(t.ctx, nil)
	t.ok(err)
	t.equal("the length of the digest", n, 32)
	digest := make([]byte, 32)
	n, err = s.DigestFinal(t.ctx, digest)
	t.ok(err)
	t.equal("the length of the digest", n, 32)
	t.equal("the digest", digest, shaDigest)
}

func fitDigestErrors(t *T) {
	s, closed, m := t.session(), t.closedSession(), mech(pkcs11.CKM_SHA256)
	t.want(s.DigestInit(t.ctx, mech(0x253)), pkcs11.CKR_MECHANISM_INVALID)
	t.want(closed.DigestInit(t.ctx, m), pkcs11.CKR_SESSION_HANDLE_INVALID)
	t.want(s.DigestUpdate(t.ctx, shaMessage), pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	t.ok(s.DigestInit(t.ctx, m))
	t.want(closed.DigestUpdate(t.ctx, shaMessage), pkcs11.CKR_SESSION_HANDLE_INVALID)
	t.ok(s.DigestUpdate(t.ctx, shaMessage))
	n, err := s.DigestFinal(t.ctx, make([]byte, 31))
	t.want(err, pkcs11.CKR_BUFFER_TOO_SMALL)
	t.equal("the length that a short buffer is told", n, 32)
	_, err = closed.DigestFinal(t.ctx, make([]byte, 32))
	t.want(err, pkcs11.CKR_SESSION_HANDLE_INVALID)
	digest := make([]byte, 32)
	n, err = s.DigestFinal(t.ctx, digest)
	t.ok(err)
	t.equal("the digest", digest[:n], shaDigest)
	t.want(s.DigestUpdate(t.ctx, shaMessage), pkcs11.CKR_OPERATION_NOT_INITIALIZED)
}

func fitRandom(t *T) {
	s := t.session()
	var b [3][10]byte
	t.ok(s.GenerateRandom(t.ctx, b[0][:]))
	t.ok(s.GenerateRandom(t.ctx, b[1][:]))
	t.ok(s.Close())
	// The last session was closed, so nobody is logged in, and exactly OK is
	// wanted here.
	s = t.open(rwSession)
	if t.e.can.login {
		t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
	}
	t.ok(s.GenerateRandom(t.ctx, b[2][:]))
	for i := 1; i < 3; i++ {
		same := 0
		for j := range b[0] {
			if b[0][j] == b[i][j] {
				same++
			}
		}
		// FIT's limit of 1 fails a good generator once in 1400 runs.
		t.check(same < 4, "%d of 10 bytes are the same in two draws", same)
	}
}

func fitRandomThreads(t *T, l Load) {
	keep := t.session()
	t.threads(l.Threads, func(t *T, _ int) {
		s := t.session()
		seen := map[string]bool{}
		for range l.Loops {
			var b [10]byte
			t.ok(s.GenerateRandom(t.ctx, b[:]))
			t.check(!seen[string(b[:])], "the same 10 bytes were drawn twice")
			seen[string(b[:])] = true
		}
		t.ok(s.Close())
	})
	t.ok(keep.Close())
}

// --- Full_PKCS11_RSA and Full_PKCS11_EC

func fitRSACreate(t *T) {
	s := t.session()
	t.destroyCredentials(s)
	importRSACredentials(t, s)
	if t.e.profile.JITP {
		t.create(s, certTemplate(t.e.labels.RootCert, rsaCert))
		t.create(s, certTemplate(t.e.labels.JITPCert, rsaCert))
		t.create(s, rsaPublicTemplate(t.e.labels.CodeVerifyKey, &rsaKey.PublicKey))
	}
}

func fitFind(t *T, c credentials) {
	l := t.e.labels
	t.mustFind(c.s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	t.mustFind(c.s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY)
	t.mustFind(c.s, l.Cert, pkcs11.CKO_CERTIFICATE)
	h := t.find(c.s, "This label doesn't exist", pkcs11.CKO_PUBLIC_KEY)
	t.check(h == 0, "object %d is found by a label that no object has", h)
}

func fitFindThreads(t *T, c credentials) {
	loads(func(t *T, load Load) {
		l := t.e.labels
		t.threads(load.Threads, func(t *T, _ int) {
			s := t.session()
			for range load.Loops {
				t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
				t.mustFind(s, l.Cert, pkcs11.CKO_CERTIFICATE)
				t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY)
			}
			t.ok(s.Close())
		})
	})(t)
}

// readRSA is the body of RSA_GetAttributeValue.
func readRSA(t *T, s cryptoki.Session, known bool, cert, priv pkcs11.ObjectHandle) {
	value := t.bytes(s, cert, pkcs11.CKA_VALUE)
	if known {
		t.equal("the length of the certificate", len(value), 949)
		t.equal("the certificate", value, rsaCert)
	}
	t.hidden(s, priv, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKR_ATTRIBUTE_SENSITIVE)
}

func fitRSAGet(t *T, c credentials) {
	readRSA(t, c.s, c.known(), t.mustFind(c.s, t.e.labels.Cert, pkcs11.CKO_CERTIFICATE),
		t.mustFind(c.s, t.e.labels.PrivateKey, pkcs11.CKO_PRIVATE_KEY))
}

func fitRSAGetThreads(t *T, c credentials) {
	cert := t.mustFind(c.s, t.e.labels.Cert, pkcs11.CKO_CERTIFICATE)
	priv := t.mustFind(c.s, t.e.labels.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	loads(func(t *T, load Load) {
		t.threads(load.Threads, func(t *T, _ int) {
			s := t.session()
			for range load.Loops {
				readRSA(t, s, c.known(), cert, priv)
			}
			t.ok(s.Close())
		})
	})(t)
}

func fitRSASign(t *T, c credentials) {
	priv := t.mustFind(c.s, t.e.labels.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	t.ok(c.s.SignInit(t.ctx, mech(pkcs11.CKM_RSA_PKCS), priv))
	sig := make([]byte, 256)
	n, err := c.s.Sign(t.ctx, rsaInput, sig)
	t.ok(err)
	t.equal("the length of the signature", n, 256)
	t.ok(c.s.SignInit(t.ctx, mech(pkcs11.CKM_RSA_PKCS), priv))
	n, err = c.s.Sign(t.ctx, rsaInput, nil)
	t.ok(err)
	t.equal("the length of the signature", n, 256)
	if c.known() {
		err := rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, make([]byte, 32), sig)
		t.check(err == nil, "crypto/rsa refuses the signature: %v", err)
		t.equal("the signature", sig, rsaSignature)
	}
	// The operation is left open: closing the session, or destroying the key,
	// ends it.
}

func fitRSAGenerate(t *T) {
	s := t.session()
	t.destroyCredentials(s)
	pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN), pkcs11.Template{
		attr(pkcs11.CKA_ENCRYPT, true), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_MODULUS_BITS, 2048),
		attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}), attr(pkcs11.CKA_LABEL, t.e.labels.PublicKey),
	}, pkcs11.Template{
		attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_DECRYPT, true),
		attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_LABEL, t.e.labels.PrivateKey),
	})
	t.ok(err)
	modulus := t.bytes(s, priv, pkcs11.CKA_MODULUS)
	t.equal("the length of the modulus", len(modulus), 256)
	t.equal("the public exponent", t.bytes(s, priv, pkcs11.CKA_PUBLIC_EXPONENT), []byte{1, 0, 1})
	digest := sha256.Sum256(shaMessage)
	block := pkcs1Block(append(bytes.Clone(sha256Prefix), digest[:]...), 256)
	sig := t.sign(s, mech(pkcs11.CKM_RSA_X_509), priv, block)
	t.ok(t.verify(s, mech(pkcs11.CKM_RSA_X_509), pub, block, sig))
	err = rsa.VerifyPKCS1v15(rsaPublicKey(modulus), crypto.SHA256, digest[:], sig)
	t.check(err == nil, "crypto/rsa refuses the signature: %v", err)
}

// pkcs1Block is EMSA-PKCS1-v1_5, the block that a raw RSA signature signs.
func pkcs1Block(digestInfo []byte, size int) []byte {
	b := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, size-3-len(digestInfo))...)
	return append(append(b, 0), digestInfo...)
}

func fitDestroy(provision func(*T, cryptoki.Session)) func(*T) {
	return func(t *T) {
		s := t.session()
		t.destroyCredentials(s)
		provision(t, s)
		t.destroyCredentials(s)
		// The next program finds nothing either.
		t.reopen()
		s = t.session()
		l := t.e.labels
		h := t.find(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY) + t.find(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY) + t.find(s, l.Cert, pkcs11.CKO_CERTIFICATE)
		t.check(h == 0, "a destroyed object is there again after a restart")
	}
}

func fitECGenerate(t *T) {
	s, l := t.session(), t.e.labels
	t.destroyCredentials(s)
	public, private := ecGenerateTemplates(l.PublicKey, l.PrivateKey)
	pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public, private)
	t.ok(err)
	t.check(pub != 0 && priv != 0, "GenerateKeyPair returned the handles %d and %d", pub, priv)
	t.create(s, certTemplate(l.Cert, ecCert))
	t.equal("CKA_CLASS of the public key", pkcs11.ObjectClass(t.get(s, pub, pkcs11.CKA_CLASS).Uint()), pkcs11.CKO_PUBLIC_KEY)
	t.equal("CKA_CLASS of the private key", pkcs11.ObjectClass(t.get(s, priv, pkcs11.CKA_CLASS).Uint()), pkcs11.CKO_PRIVATE_KEY)
	t.equal("CKA_KEY_TYPE of the private key", pkcs11.KeyType(t.get(s, priv, pkcs11.CKA_KEY_TYPE).Uint()), pkcs11.CKK_EC)
	t.equal("CKA_KEY_TYPE of the public key", pkcs11.KeyType(t.get(s, pub, pkcs11.CKA_KEY_TYPE).Uint()), pkcs11.CKK_EC)
	t.equal("CKA_EC_PARAMS of the private key", t.bytes(s, priv, pkcs11.CKA_EC_PARAMS), p256OID)
	t.hidden(s, priv, pkcs11.CKA_VALUE, pkcs11.CKR_ATTRIBUTE_SENSITIVE)
	t.equal("the length of CKA_EC_POINT", len(t.bytes(s, pub, pkcs11.CKA_EC_POINT)), 67)
	// The header of FIT's test promises more: sign, and verify with the point.
	if t.e.has(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 256) {
		sig := t.sign(s, mech(pkcs11.CKM_ECDSA), priv, ecHash1)
		t.verifyHost(t.publicEC(s, pub, ecKey.Curve), ecHash1, sig)
	}
}

func fitECCreate(t *T) {
	s, l := t.session(), t.e.labels
	t.destroyCredentials(s)
	if t.e.profile.Generate {
		generateECCredentials(t, s)
	}
	// FIT does not destroy here: what is imported takes the place of what was
	// generated.
	importECCredentials(t, s)
	if t.e.labels == placeLabels {
		t.equal("CKA_EC_POINT of the imported public key",
			t.bytes(s, t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY), pkcs11.CKA_EC_POINT), ecPoint)
		if t.e.has(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 256) {
			sig := t.sign(s, mech(pkcs11.CKM_ECDSA), t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY), ecHash1)
			t.verifyHost(&ecKey.PublicKey, ecHash1, sig)
		}
	}
	if t.e.profile.JITP {
		t.create(s, certTemplate(l.RootCert, ecCert))
		t.create(s, certTemplate(l.JITPCert, ecCert))
		t.create(s, ecPublicTemplate(l.CodeVerifyKey, &ecKey.PublicKey))
	}
}

func fitECGet(t *T, c credentials) {
	s, l := c.s, t.e.labels
	priv := t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	pub := t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY)
	cert := t.mustFind(s, l.Cert, pkcs11.CKO_CERTIFICATE)
	class := func(h pkcs11.ObjectHandle) pkcs11.ObjectClass {
		return pkcs11.ObjectClass(t.get(s, h, pkcs11.CKA_CLASS).Uint())
	}
	t.equal("CKA_CLASS of the private key", class(priv), pkcs11.CKO_PRIVATE_KEY)
	t.equal("CKA_KEY_TYPE of the private key", pkcs11.KeyType(t.get(s, priv, pkcs11.CKA_KEY_TYPE).Uint()), pkcs11.CKK_EC)
	t.equal("CKA_EC_PARAMS of the private key", t.bytes(s, priv, pkcs11.CKA_EC_PARAMS), p256OID)
	t.equal("CKA_CLASS of the public key", class(pub), pkcs11.CKO_PUBLIC_KEY)
	t.equal("CKA_EC_PARAMS of the public key", t.bytes(s, pub, pkcs11.CKA_EC_PARAMS), p256OID)
	point := t.bytes(s, pub, pkcs11.CKA_EC_POINT)
	t.equal("the length of CKA_EC_POINT", len(point), 67)
	if c.known() {
		t.equal("CKA_EC_POINT", point, ecPoint)
	}
	t.equal("CKA_CLASS of the certificate", class(cert), pkcs11.CKO_CERTIFICATE)
	value := t.bytes(s, cert, pkcs11.CKA_VALUE)
	if c.method != "preprovisioned" {
		t.equal("the length of the certificate", len(value), 626)
		t.equal("the certificate", value, ecCert)
	}
}

func fitECSign(t *T, c credentials) {
	s, l := c.s, t.e.labels
	priv := t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	pub := t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY)
	t.ok(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), priv))
	sig := make([]byte, 256)
	n, err := s.Sign(t.ctx, ecHash1, sig)
	t.ok(err)
	t.equal("the length of the signature", n, 64)
	t.ok(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), priv))
	n, err = s.Sign(t.ctx, ecHash1, nil)
	t.ok(err)
	t.equal("the length of the signature", n, 64)
	// The operation is open, and stays so.
	t.verifyHost(t.publicEC(s, pub, ecKey.Curve), ecHash1, sig[:64])
}

func fitECVerify(t *T, c credentials) {
	s, l := c.s, t.e.labels
	priv := t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	pub := t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY)
	t.ok(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), priv))
	sig := make([]byte, 74)
	n, err := s.Sign(t.ctx, ecHash2, sig)
	t.ok(err)
	t.equal("the length of the signature", n, 64)
	t.ok(t.verify(s, mech(pkcs11.CKM_ECDSA), pub, ecHash2, sig[:64]))
	if c.known() {
		t.ok(t.verify(s, mech(pkcs11.CKM_ECDSA), pub, ecHash2, t.signHost(ecKey, ecHash2)))
	}
	// The negative case that FIT announces and does not have.
	t.want(t.verify(s, mech(pkcs11.CKM_ECDSA), pub, ecHash1, sig[:64]), pkcs11.CKR_SIGNATURE_INVALID)
}

func fitECGetThreads(t *T, c credentials) {
	l := t.e.labels
	priv := t.mustFind(c.s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	cert := t.mustFind(c.s, l.Cert, pkcs11.CKO_CERTIFICATE)
	loads(func(t *T, load Load) {
		t.threads(load.Threads, func(t *T, _ int) {
			s := t.session()
			for range load.Loops {
				t.equal("CKA_EC_PARAMS", t.bytes(s, priv, pkcs11.CKA_EC_PARAMS), p256OID)
				value := t.bytes(c.s, cert, pkcs11.CKA_VALUE) // the session of all threads
				_, err := x509.ParseCertificate(value)
				t.check(err == nil, "the certificate does not parse: %v", err)
			}
			t.ok(s.Close())
		})
	})(t)
}

func fitSignVerifyThreads(t *T, c credentials) {
	l := t.e.labels
	priv := t.mustFind(c.s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	pub := t.mustFind(c.s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY)
	loads(func(t *T, load Load) {
		t.threads(load.Threads, func(t *T, _ int) {
			s := t.session()
			for range load.Loops {
				t.ok(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), priv))
				sig := make([]byte, 64)
				n, err := s.Sign(t.ctx, ecHash1, sig)
				t.ok(err)
				t.equal("the length of the signature", n, 64)
				t.ok(t.verify(s, mech(pkcs11.CKM_ECDSA), pub, ecHash1, sig))
			}
			t.ok(s.Close())
		})
	})(t)
}

func rsaPublicKey(modulus []byte) *rsa.PublicKey {
	return &rsa.PublicKey{N: bigInt(modulus), E: 65537}
}
