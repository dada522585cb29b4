package conformance

import (
	"fmt"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The model-based tests of amazon-freertos: walks over the states of a module,
// a session and its operations. A behaviour is one call and the code that it
// must have; a path is a sequence of them.
//
// Of the 96 behaviours a few cannot be expressed against Go's interface: those
// that pass a NULL where it has a value, or a length without a pointer. Where
// such a call only had to fail, there is nothing left of it; where its failure
// ends an operation, as §5.2 of the standard says, another failure that can be
// expressed does, or SessionCancel. Where the paths contradict the standard, the
// standard decides: see the comments of the behaviours.

// A walk is the state that behaviours work on.
type walk struct {
	t      *T
	mod    *module  // the module that was opened last
	s      *session // the session that was opened last
	closed *session // a session that is closed: handle 0
	down   *session // a session of a module that was closed
	mech   *pkcs11.Mechanism
	data   []byte
	keys   keyPair
	sig    []byte // of data, made in the setup
}

// A behaviour is a call and what is expected of it.
type behaviour struct {
	say string // a phrase for the name of a case
	run func(w *walk)
	// instead says why the call is none, or another, in Go.
	instead string
}

var (
	badArgs     = pkcs11.CKR_ARGUMENTS_BAD
	badSession  = pkcs11.CKR_SESSION_HANDLE_INVALID
	badMech     = pkcs11.CKR_MECHANISM_INVALID
	notStarted  = pkcs11.CKR_OPERATION_NOT_INITIALIZED
	opActive    = pkcs11.CKR_OPERATION_ACTIVE
	tooSmall    = pkcs11.CKR_BUFFER_TOO_SMALL
	moduleDown  = pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED
	nothing     = func(*walk) {}
	aesCBC      = &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: make([]byte, 16)}
	sha256Mech  = mech(pkcs11.CKM_SHA256)
	noValueNull = "a slice that is nil has no length"
)

// behaviours are the 96 behaviours under their names in §1.6 of the paths.
var behaviours = map[string]behaviour{
	"Init.N":  {say: "open the module", run: func(w *walk) { w.mod = w.t.module() }},
	"Init.X0": {say: "(initialize again)", run: nothing, instead: "a module is a value: opening another is another module"},
	"Fin.N":   {say: "close the module", run: func(w *walk) { w.t.closeModule() }},
	"Fin.X0":  {say: "close a closed module", run: func(w *walk) { w.t.want(w.mod.Close(), moduleDown) }},
	"Fin.X1":  {say: "(finalize with a reserved pointer)", run: nothing, instead: "there is no reserved pointer"},

	"Open.N": {say: "open a session", run: func(w *walk) { w.s = w.t.open(roSession) }},
	"Open.X0": {say: "open a session without CKF_SERIAL_SESSION", run: func(w *walk) {
		_, err := w.mod.OpenSession(w.t.ctx, w.t.e.slot, 0)
		w.t.want(err, pkcs11.CKR_SESSION_PARALLEL_NOT_SUPPORTED)
	}},
	"Open.X1": {say: "(open a session without a place for the handle)", run: nothing, instead: "the session is a result"},
	"Open.X2": {say: "open a session of a closed module", run: func(w *walk) {
		_, err := w.mod.OpenSession(w.t.ctx, w.t.e.slot, roSession)
		w.t.want(err, moduleDown)
	}},
	"Close.N": {say: "close the session", run: func(w *walk) { w.t.ok(w.s.Close()) }},
	"Close.X0": {say: "close a closed session", run: func(w *walk) {
		s := w.t.closedSession()
		w.t.want(s.Close(), badSession)
	}},
	"Close.X1": {say: "close a session of a closed module", run: func(w *walk) { w.t.want(w.down.Close(), moduleDown) }},

	"DI.N":  {say: "DigestInit", run: func(w *walk) { w.t.ok(w.s.DigestInit(w.t.ctx, sha256Mech)) }},
	"DI.X0": {say: "DigestInit while one is open", run: func(w *walk) { w.t.want(w.s.DigestInit(w.t.ctx, sha256Mech), opActive) }},
	"DI.X1": {say: "DigestInit on a closed session", run: func(w *walk) { w.t.want(w.closed.DigestInit(w.t.ctx, sha256Mech), badSession) }},
	"DI.X2": {say: "DigestInit without a mechanism", run: func(w *walk) { w.t.want(w.s.DigestInit(w.t.ctx, nil), badArgs) }},
	"DI.X3": {say: "DigestInit with CKM_AES_CBC", run: func(w *walk) { w.t.want(w.s.DigestInit(w.t.ctx, aesCBC), badMech) }},
	"DI.X4": {say: "DigestInit after the module closed", run: func(w *walk) { w.t.want(w.down.DigestInit(w.t.ctx, sha256Mech), moduleDown) }},
	"DU.N":  {say: "DigestUpdate", run: func(w *walk) { w.t.ok(w.s.DigestUpdate(w.t.ctx, shaMessage)) }},
	"DU.X0": {say: "DigestUpdate without a digest", run: func(w *walk) { w.t.want(w.s.DigestUpdate(w.t.ctx, shaMessage), notStarted) }},
	"DU.X1": {say: "DigestUpdate on a closed session", run: func(w *walk) { w.t.want(w.closed.DigestUpdate(w.t.ctx, shaMessage), badSession) }},
	"DU.X2": {say: "cancel the digest", run: cancel(pkcs11.CKF_DIGEST), instead: noValueNull + "; SessionCancel ends the digest instead"},
	"DU.X3": {say: "DigestUpdate after the module closed", run: func(w *walk) { w.t.want(w.down.DigestUpdate(w.t.ctx, shaMessage), moduleDown) }},
	"DF.N":  {say: "DigestFinal", run: digestFinal},
	"DF.X0": {say: "DigestFinal without a digest", run: func(w *walk) {
		_, err := w.s.DigestFinal(w.t.ctx, nil)
		w.t.want(err, notStarted)
	}},
	"DF.X1": {say: "cancel the digest", run: cancel(pkcs11.CKF_DIGEST), instead: "the length is a result; SessionCancel ends the digest instead"},
	"DF.X2": {say: "DigestFinal on a closed session", run: func(w *walk) {
		_, err := w.closed.DigestFinal(w.t.ctx, make([]byte, 32))
		w.t.want(err, badSession)
	}},
	"DF.X3": {say: "DigestFinal into 3 bytes", run: func(w *walk) {
		n, err := w.s.DigestFinal(w.t.ctx, nil)
		w.t.ok(err)
		w.t.equal("the length of the digest", n, 32)
		n, err = w.s.DigestFinal(w.t.ctx, make([]byte, 3))
		w.t.want(err, tooSmall)
		w.t.equal("the length that a short buffer is told", n, 32)
	}},
	"DF.X4": {say: "DigestFinal after the module closed", run: func(w *walk) {
		_, err := w.down.DigestFinal(w.t.ctx, nil)
		w.t.want(err, moduleDown)
	}},

	"FI.N":  {say: "FindObjectsInit", run: func(w *walk) { w.t.ok(w.s.FindObjectsInit(w.t.ctx, w.search())) }},
	"FI.X0": {say: "FindObjectsInit while one is open", run: func(w *walk) { w.t.want(w.s.FindObjectsInit(w.t.ctx, w.search()), opActive) }},
	"FI.X1": {say: "FindObjectsInit on a closed session", run: func(w *walk) { w.t.want(w.closed.FindObjectsInit(w.t.ctx, w.search()), badSession) }},
	// ARGUMENTS_BAD there; in the standard an empty template matches everything.
	"FI.X2": {say: "FindObjectsInit with an empty template finds everything", run: func(w *walk) {
		found := w.t.all(w.s)
		for _, h := range found {
			if h == w.keys.priv {
				return
			}
		}
		w.t.fatalf("an empty template found %d objects, the key of the case not among them", len(found))
	}, instead: "the standard decides: an empty template matches everything"},
	"FI.X3": {say: "FindObjectsInit after the module closed", run: func(w *walk) {
		w.t.want(w.down.FindObjectsInit(w.t.ctx, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}), moduleDown)
	}},
	"FO.N": {say: "FindObjects", run: func(w *walk) {
		var h [1]pkcs11.ObjectHandle
		n, err := w.s.FindObjects(w.t.ctx, h[:])
		w.t.ok(err)
		w.t.check(n == 1 && h[0] == w.keys.priv, "found %d objects, the first %d; want 1, %d", n, h[0], w.keys.priv)
	}},
	"FO.X0": {say: "FindObjects without a search", run: func(w *walk) {
		_, err := w.s.FindObjects(w.t.ctx, make([]pkcs11.ObjectHandle, 1))
		w.t.want(err, notStarted)
	}},
	"FO.X1": {say: "FindObjects on a closed session", run: func(w *walk) {
		_, err := w.closed.FindObjects(w.t.ctx, make([]pkcs11.ObjectHandle, 1))
		w.t.want(err, badSession)
	}},
	"FO.X2": {say: "cancel the search", run: cancel(pkcs11.CKF_FIND_OBJECTS), instead: noValueNull + "; SessionCancel ends the search instead"},
	"FO.X3": {say: "FindObjects after the module closed", run: func(w *walk) {
		_, err := w.down.FindObjects(w.t.ctx, make([]pkcs11.ObjectHandle, 1))
		w.t.want(err, moduleDown)
	}},
	"FF.N":  {say: "FindObjectsFinal", run: func(w *walk) { w.t.ok(w.s.FindObjectsFinal(w.t.ctx)) }},
	"FF.X0": {say: "FindObjectsFinal without a search", run: func(w *walk) { w.t.want(w.s.FindObjectsFinal(w.t.ctx), notStarted) }},
	"FF.X1": {say: "FindObjectsFinal on a closed session", run: func(w *walk) { w.t.want(w.closed.FindObjectsFinal(w.t.ctx), badSession) }},
	"FF.X2": {say: "FindObjectsFinal after the module closed", run: func(w *walk) { w.t.want(w.down.FindObjectsFinal(w.t.ctx), moduleDown) }},

	"GA.N": {say: "GetAttributeValue of CKA_CLASS", run: func(w *walk) {
		w.t.equal("CKA_CLASS", pkcs11.ObjectClass(w.t.get(w.s, w.keys.priv, pkcs11.CKA_CLASS).Uint()), pkcs11.CKO_PRIVATE_KEY)
	}},
	"GA.X0": {say: "GetAttributeValue on a closed session", run: func(w *walk) { w.t.want(w.closed.GetAttributeValue(w.t.ctx, w.keys.priv, classOnly()), badSession) }},
	"GA.X1": {say: "GetAttributeValue of object 0", run: func(w *walk) {
		w.t.want(w.s.GetAttributeValue(w.t.ctx, 0, classOnly()), pkcs11.CKR_OBJECT_HANDLE_INVALID)
	}},
	// The key of these paths is an RSA key, which has no CKA_VALUE: TYPE_INVALID
	// is as good.
	"GA.X2": {say: "GetAttributeValue of CKA_VALUE", run: func(w *walk) {
		w.t.hidden(w.s, w.keys.priv, pkcs11.CKA_VALUE, pkcs11.CKR_ATTRIBUTE_SENSITIVE, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID)
	}},
	// ATTRIBUTE_TYPE_INVALID there; in the standard every object has a label.
	"GA.X3": {say: "GetAttributeValue of CKA_LABEL", run: func(w *walk) {
		w.t.equal("CKA_LABEL", w.t.get(w.s, w.keys.priv, pkcs11.CKA_LABEL).Text(), w.keys.label)
	}, instead: "the standard decides: a label can be read"},
	"GA.X4": {say: "GetAttributeValue of nothing", run: func(w *walk) {
		w.t.want(w.s.GetAttributeValue(w.t.ctx, w.keys.priv, nil), 0, badArgs)
	}, instead: "a template that is nil is empty; both codes are right for it"},
	"GA.X5": {say: "GetAttributeValue after the module closed", run: func(w *walk) { w.t.want(w.down.GetAttributeValue(w.t.ctx, 1, classOnly()), moduleDown) }},

	"GK.N": {say: "GenerateKeyPair", run: func(w *walk) {
		w.t.ok(w.generate(w.s, pkcs11.CKM_EC_KEY_PAIR_GEN))
	}},
	"GK.X0": {say: "GenerateKeyPair of nothing", run: func(w *walk) {
		_, _, err := w.s.GenerateKeyPair(w.t.ctx, nil, nil, nil)
		w.t.want(err, badArgs)
	}},
	"GK.X1": {say: "GenerateKeyPair with CKM_AES_CBC", run: func(w *walk) { w.t.want(w.generate(w.s, pkcs11.CKM_AES_CBC), badMech) }},
	"GK.X2": {say: "GenerateKeyPair on a closed session", run: func(w *walk) { w.t.want(w.generate(w.closed, pkcs11.CKM_EC_KEY_PAIR_GEN), badSession) }},
	"GK.X3": {say: "GenerateKeyPair with empty templates", run: func(w *walk) {
		_, _, err := w.s.GenerateKeyPair(w.t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), nil, nil)
		w.t.want(err, pkcs11.CKR_TEMPLATE_INCOMPLETE)
	}},
	"GK.X4": {say: "GenerateKeyPair with CKA_VERIFY true and false", run: func(w *walk) {
		w.t.want(w.generate(w.s, pkcs11.CKM_EC_KEY_PAIR_GEN, attr(pkcs11.CKA_VERIFY, false)), pkcs11.CKR_TEMPLATE_INCONSISTENT)
	}},
	"GK.X5": {say: "GenerateKeyPair after the module closed", run: func(w *walk) { w.t.want(w.generate(w.down, pkcs11.CKM_EC_KEY_PAIR_GEN), moduleDown) }},
	"GR.N": {say: "GenerateRandom", run: func(w *walk) {
		b := make([]byte, 8)
		w.t.ok(w.s.GenerateRandom(w.t.ctx, b))
		w.t.check(string(b) != string(make([]byte, 8)), "GenerateRandom left the buffer as it was")
	}},
	"GR.X0": {say: "GenerateRandom after the module closed", run: func(w *walk) { w.t.want(w.down.GenerateRandom(w.t.ctx, make([]byte, 8)), moduleDown) }},
	"GR.X1": {say: "GenerateRandom on a closed session", run: func(w *walk) { w.t.want(w.closed.GenerateRandom(w.t.ctx, make([]byte, 8)), badSession) }},
	"GR.X2": {say: "GenerateRandom without a buffer", run: func(w *walk) { w.t.want(w.s.GenerateRandom(w.t.ctx, nil), badArgs) }},

	"SI.N":  {say: "SignInit", run: func(w *walk) { w.t.ok(w.s.SignInit(w.t.ctx, w.mech, w.keys.priv)) }},
	"SI.X0": {say: "SignInit while one is open", run: func(w *walk) { w.t.want(w.s.SignInit(w.t.ctx, w.mech, w.keys.priv), opActive) }},
	"SI.X1": {say: "SignInit while one is open", run: func(w *walk) { w.t.want(w.s.SignInit(w.t.ctx, w.mech, w.keys.priv), opActive) }},
	"SI.X2": {say: "SignInit without a mechanism", run: func(w *walk) { w.t.want(w.s.SignInit(w.t.ctx, nil, w.keys.priv), badArgs) }},
	"SI.X3": {say: "SignInit on a closed session", run: func(w *walk) { w.t.want(w.closed.SignInit(w.t.ctx, w.mech, w.keys.priv), badSession) }},
	"SI.X4": {say: "SignInit with key 0", run: func(w *walk) { w.t.want(w.s.SignInit(w.t.ctx, w.mech, 0), pkcs11.CKR_KEY_HANDLE_INVALID) }},
	"SI.X5": {say: "SignInit with a key that may not sign", run: func(w *walk) {
		w.t.want(w.s.SignInit(w.t.ctx, w.mech, w.mute().priv), pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}},
	"SI.X6": {say: "SignInit with a public key", run: func(w *walk) {
		w.t.want(w.s.SignInit(w.t.ctx, w.mech, w.keys.pub), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}},
	"SI.X7": {say: "SignInit with CKM_AES_CBC", run: func(w *walk) { w.t.want(w.s.SignInit(w.t.ctx, aesCBC, w.keys.priv), badMech) }},
	"SI.X8": {say: "SignInit after the module closed", run: func(w *walk) { w.t.want(w.down.SignInit(w.t.ctx, mech(pkcs11.CKM_ECDSA), 1), moduleDown) }},
	"SI.X9": {say: "SignInit after the module closed", run: func(w *walk) { w.t.want(w.down.SignInit(w.t.ctx, mech(pkcs11.CKM_ECDSA), 1), moduleDown) }},
	"S.N": {say: "Sign", run: func(w *walk) {
		sig := make([]byte, 256)
		n, err := w.s.Sign(w.t.ctx, w.data, sig)
		w.t.ok(err)
		w.genuine(sig[:n])
	}},
	"S.X0": {say: "Sign without SignInit", run: func(w *walk) {
		_, err := w.s.Sign(w.t.ctx, w.data, make([]byte, 256))
		w.t.want(err, notStarted)
	}},
	"S.X1": {say: "Sign on a closed session", run: func(w *walk) {
		_, err := w.closed.Sign(w.t.ctx, w.data, make([]byte, 256))
		w.t.want(err, badSession)
	}},
	"S.X2": {say: "Sign into 1 byte", run: func(w *walk) {
		_, err := w.s.Sign(w.t.ctx, w.data, make([]byte, 1))
		w.t.want(err, tooSmall)
	}},
	"S.X3": {say: "Sign data of a wrong length", run: func(w *walk) {
		data := make([]byte, 246) // 10 bytes of padding at most
		if w.mech.Type == pkcs11.CKM_ECDSA {
			data = nil
		}
		_, err := w.s.Sign(w.t.ctx, data, make([]byte, 256))
		w.t.want(err, pkcs11.CKR_DATA_LEN_RANGE)
	}, instead: "a buffer that is nil asks for the length; data of a wrong length ends the operation instead"},
	"S.X4": {say: "Sign after the module closed", run: func(w *walk) {
		_, err := w.down.Sign(w.t.ctx, ecHash1, make([]byte, 64))
		w.t.want(err, moduleDown)
	}},

	"VI.N":  {say: "VerifyInit", run: func(w *walk) { w.t.ok(w.s.VerifyInit(w.t.ctx, w.mech, w.keys.pub)) }},
	"VI.X0": {say: "VerifyInit while one is open", run: func(w *walk) { w.t.want(w.s.VerifyInit(w.t.ctx, w.mech, w.keys.pub), opActive) }},
	"VI.X1": {say: "VerifyInit while one is open", run: func(w *walk) { w.t.want(w.s.VerifyInit(w.t.ctx, w.mech, w.keys.pub), opActive) }},
	"VI.X2": {say: "VerifyInit without a mechanism", run: func(w *walk) { w.t.want(w.s.VerifyInit(w.t.ctx, nil, w.keys.pub), badArgs) }},
	"VI.X3": {say: "VerifyInit on a closed session", run: func(w *walk) { w.t.want(w.closed.VerifyInit(w.t.ctx, w.mech, w.keys.pub), badSession) }},
	"VI.X4": {say: "VerifyInit with key 0", run: func(w *walk) { w.t.want(w.s.VerifyInit(w.t.ctx, w.mech, 0), pkcs11.CKR_KEY_HANDLE_INVALID) }},
	// The stub there expects OK.
	"VI.X5": {say: "VerifyInit with a key that may not verify", run: func(w *walk) {
		w.t.want(w.s.VerifyInit(w.t.ctx, w.mech, w.mute().pub), pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}},
	"VI.X6": {say: "VerifyInit with a private key", run: func(w *walk) {
		w.t.want(w.s.VerifyInit(w.t.ctx, w.mech, w.keys.priv), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}},
	"VI.X7": {say: "VerifyInit with CKM_AES_CBC", run: func(w *walk) { w.t.want(w.s.VerifyInit(w.t.ctx, aesCBC, w.keys.pub), badMech) }},
	"VI.X8": {say: "VerifyInit after the module closed", run: func(w *walk) { w.t.want(w.down.VerifyInit(w.t.ctx, mech(pkcs11.CKM_ECDSA), 1), moduleDown) }},
	"V.N":   {say: "Verify", run: func(w *walk) { w.t.ok(w.s.Verify(w.t.ctx, w.data, w.sig)) }},
	"V.X0":  {say: "Verify without VerifyInit", run: func(w *walk) { w.t.want(w.s.Verify(w.t.ctx, w.data, w.sig), notStarted) }},
	"V.X1":  {say: "Verify on a closed session", run: func(w *walk) { w.t.want(w.closed.Verify(w.t.ctx, w.data, w.sig), badSession) }},
	"V.X2": {say: "Verify nothing", run: func(w *walk) {
		w.t.want(w.s.Verify(w.t.ctx, nil, nil), pkcs11.CKR_SIGNATURE_LEN_RANGE, pkcs11.CKR_DATA_LEN_RANGE)
	}, instead: noValueNull + "; both lengths are wrong, which has its codes"},
	"V.X3": {say: "Verify zeros", run: func(w *walk) {
		w.t.want(w.s.Verify(w.t.ctx, w.data, make([]byte, len(w.sig))), pkcs11.CKR_SIGNATURE_INVALID)
	}},
	"V.X4": {say: "Verify an empty signature", run: func(w *walk) {
		w.t.want(w.s.Verify(w.t.ctx, w.data, nil), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	}},
	"V.X5": {say: "Verify empty data", run: func(w *walk) {
		w.t.want(w.s.Verify(w.t.ctx, nil, w.sig), pkcs11.CKR_DATA_LEN_RANGE)
	}},
	"V.X6": {say: "Verify after the module closed", run: func(w *walk) { w.t.want(w.down.Verify(w.t.ctx, ecHash1, make([]byte, 64)), moduleDown) }},
}

func classOnly() pkcs11.Template { return pkcs11.Template{attr(pkcs11.CKA_CLASS, nil)} }

func cancel(flags uint64) func(*walk) {
	return func(w *walk) { w.t.cancel(w.s, flags) }
}

func digestFinal(w *walk) {
	n, err := w.s.DigestFinal(w.t.ctx, nil)
	w.t.ok(err)
	w.t.equal("the length of the digest", n, 32)
	digest := make([]byte, 32)
	n, err = w.s.DigestFinal(w.t.ctx, digest)
	w.t.ok(err)
	w.t.equal("the digest", digest[:n], shaDigest)
}

func (w *walk) search() pkcs11.Template {
	return pkcs11.Template{attr(pkcs11.CKA_LABEL, w.keys.label), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}
}

// generate is GenerateKeyPair with the template of the tests.
func (w *walk) generate(s *session, m pkcs11.MechanismType, more ...pkcs11.Attribute) error {
	public, private := ecGenerateTemplates(w.t.label("pub"), w.t.label("priv"))
	_, _, err := s.GenerateKeyPair(w.t.ctx, mech(m), append(public, more...), private)
	return err
}

// mute returns a key pair that may neither sign nor verify.
func (w *walk) mute() keyPair {
	pub, priv := attr(pkcs11.CKA_VERIFY, false), attr(pkcs11.CKA_SIGN, false)
	label := w.t.label("mute")
	switch {
	case w.mech.Type == pkcs11.CKM_RSA_PKCS:
		return keyPair{pub: w.t.create(w.s, rsaPublicTemplate(label, &rsaKey.PublicKey).Set(pub)),
			priv: w.t.create(w.s, rsaPrivateTemplate(label, rsaKey).Set(priv))}
	case w.t.e.profile.Import:
		return keyPair{pub: w.t.create(w.s, ecPublicTemplate(label, &ecKey.PublicKey).Set(pub)),
			priv: w.t.create(w.s, ecPrivateTemplate(label, ecKey).Set(priv))}
	}
	public, private := ecGenerateTemplates(label, label)
	p, q, err := w.s.GenerateKeyPair(w.t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public.Set(pub), private.Set(priv))
	w.t.ok(err)
	return keyPair{pub: p, priv: q}
}

// genuine checks a signature over the data outside of the token.
func (w *walk) genuine(sig []byte) {
	if w.mech.Type == pkcs11.CKM_RSA_PKCS {
		w.t.equal("the signature", sig, rsaSignature)
		return
	}
	w.t.verifyHost(w.keys.ec, w.data, sig)
}

// machine is a group of paths and what comes before each.
type machine struct {
	name, clause string
	paths        string
	serial       bool
	needs        []need
	setUp        func(*walk)
}

var machines = []machine{
	{"Session", "v2.40 §5.4, §5.6", sessionPaths, true, nil, func(w *walk) {
		w.mod = w.t.module()
		w.down = w.t.open(rwSession)
		w.t.closeModule()
	}},
	{"Digest", "v2.40 §5.10", digestPaths, false, needs(sha256Row), nil},
	{"Generation", "v2.40 §5.13, §5.14", generationPaths, false, nil, nil},
	{"Object", "v2.40 §5.7", objectPaths, false, needs(wantsKeys), func(w *walk) {
		if p := w.t.e.profile; p.RSA && p.Import {
			w.keys = w.t.sharedRSA()
		} else {
			w.keys = w.t.sharedEC()
		}
	}},
	{"Verify", "v2.40 §5.12", verifyPaths, false, needs(ecSign, ecVerifyRow), walkEC},
	{"Sign/EC", "v2.40 §5.11", signPaths, false, needs(ecSign), walkEC},
	{"Sign/RSA", "v2.40 §5.11", signPaths, false, needs(rsaSign), func(w *walk) {
		w.keys, w.mech, w.data = w.t.sharedRSA(), mech(pkcs11.CKM_RSA_PKCS), rsaInput
	}},
}

func walkEC(w *walk) {
	w.keys, w.mech, w.data = w.t.sharedEC(), mech(pkcs11.CKM_ECDSA), ecHash1
	w.sig = w.t.sign(w.s, w.mech, w.keys.priv, w.data)
}

// mbtCases makes a case of each path.
func mbtCases() []Case {
	var all []Case
	for _, m := range machines {
		group, variant, _ := strings.Cut(m.name, "/")
		for line := range strings.Lines(m.paths) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			number, path, _ := strings.Cut(line, ": ")
			c := Case{
				ID:        fmt.Sprintf("MBT-%s-%s", group, number),
				Family:    "mbt",
				Name:      sentence(strings.Fields(path)),
				Clause:    m.clause,
				Ancestors: []string{fmt.Sprintf("MBT %s path %s", group, number)},
				needs:     append(needs(m.needs), pathNeeds(path)...),
				serial:    m.serial,
				run:       runPath(m, strings.Fields(path)),
			}
			if variant != "" {
				c.ID += "-" + variant
			}
			for _, b := range strings.Fields(path) {
				c.Ancestors = append(c.Ancestors, "MBT behaviour "+b)
			}
			c.Ancestors = unique(c.Ancestors)
			all = append(all, c)
		}
	}
	return all
}

func unique(s []string) []string {
	seen := map[string]bool{}
	out := s[:0:0]
	for _, v := range s {
		if !seen[v] {
			out = append(out, v)
		}
		seen[v] = true
	}
	return out
}

// sentence says what happens on a path.
func sentence(path []string) string {
	var s []string
	for _, b := range path {
		s = append(s, behaviours[b].say)
	}
	return strings.Join(s, ", then ")
}

// pathNeeds is what the behaviours of a path need beyond their group.
func pathNeeds(path string) []need {
	var n []need
	if strings.Contains(path, "GK.N") || strings.Contains(path, "GK.X3") || strings.Contains(path, "GK.X4") || strings.Contains(path, "GK.X0") {
		n = append(n, ecGen...)
	}
	if strings.Contains(path, "GR.") && !strings.Contains(path, "GR.X0") {
		n = append(n, wantsRandom)
	}
	if strings.Contains(path, "I.X5") {
		n = append(n, wantsCreate)
	}
	return n
}

func runPath(m machine, path []string) func(*T) {
	return func(t *T) {
		w := &walk{t: t}
		if m.name != "Session" {
			w.s, w.closed = t.session(), t.closedSession()
		}
		if m.setUp != nil {
			m.setUp(w)
		}
		for i, b := range path {
			t.step(fmt.Sprintf("step %d, %s", i+1, b), func() { behaviours[b].run(w) })
		}
		if t.allInexpressible(path) {
			t.checked() // an empty walk: the setup is all there is
		}
	}
}

// allInexpressible reports whether nothing of a path is left in Go.
func (t *T) allInexpressible(path []string) bool {
	for _, b := range path {
		if behaviours[b].instead == "" {
			return false
		}
	}
	return true
}
