package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// suite gives cases their family.
func suite(family string, serial bool, cases ...Case) []Case {
	for i := range cases {
		cases[i].Family = family
		cases[i].serial = cases[i].serial || serial
	}
	return cases
}

func moduleCases() []Case {
	return suite("module", true,
		Case{ID: "MOD-01", Name: "every function of a session of a closed module says that the module is closed", Clause: "v2.40 §5.4, C_Finalize",
			Ancestors: []string{"R-17", "gap 12", "client 2"}, run: func(t *T) {
				s := t.session()
				t.closeModule()
				for _, c := range sessionCalls {
					t.step(c.name, func() { t.want(c.call(t.ctx, s), moduleDown) })
				}
			}},
		Case{ID: "MOD-02", Name: "every function of a closed module says so", Clause: "v2.40 §5.4, C_Finalize",
			Ancestors: []string{"client 2", "gap 12"}, run: func(t *T) {
				m := t.module()
				t.closeModule()
				for _, c := range moduleCalls {
					t.step(c.name, func() { t.want(c.call(t.ctx, m, t.e.slot), moduleDown) })
				}
				t.want(m.Close(), moduleDown)
			}},
		Case{ID: "MOD-03", Name: "every function with a slot refuses one that does not exist", Clause: "v2.40 §5.5",
			Ancestors: []string{"R-29"}, run: func(t *T) {
				m := t.module()
				all, err := m.Slots(t.ctx, false)
				t.ok(err)
				unknown := pkcs11.SlotID(77)
				for _, id := range all {
					unknown = max(unknown, id+1)
				}
				for _, slot := range []pkcs11.SlotID{unknown, ^pkcs11.SlotID(0)} {
					for _, c := range moduleCalls {
						if c.slot {
							t.step(fmt.Sprintf("%s of slot %d", c.name, slot), func() { t.want(c.call(t.ctx, m, slot), pkcs11.CKR_SLOT_ID_INVALID) })
						}
					}
				}
			}},
		Case{ID: "MOD-04", Name: "closing the module closes sessions in the middle of operations", Clause: "v2.40 §5.4, C_Finalize",
			Ancestors: []string{"R-17", "client 3"}, needs: needs(sha256Row), run: func(t *T) {
				s := t.session()
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				t.ok(s.DigestUpdate(t.ctx, shaMessage))
				t.ok(s.FindObjectsInit(t.ctx, nil))
				t.reopen()
				_, err := s.DigestFinal(t.ctx, make([]byte, 32))
				t.want(err, moduleDown, badSession)
				info, err := t.module().TokenInfo(t.ctx, t.e.slot)
				t.ok(err)
				t.check(info.SessionCount == 0 || info.SessionCount == pkcs11.Unavailable, "SessionCount is %d in a module just opened", info.SessionCount)
			}},
		Case{ID: "MOD-05", Name: "the module opens and closes hundreds of times", Clause: "v2.40 §5.4",
			Ancestors: []string{"R-17", "R-20", "client 4"}, run: func(t *T) {
				// Sessions stay open on purpose; slow devices do fewer rounds.
				for start, i := time.Now(), 0; i < 300 && (i < 10 || time.Since(start) < t.e.target.Deadline/4); i++ {
					t.open(rwSession)
					t.open(roSession)
					t.closeModule()
				}
			}},
		Case{ID: "MOD-06", Name: "the login is over after a restart", Clause: "v2.40 §5.6, C_Login",
			Ancestors: []string{"client 4", "client 14"}, needs: needs(wantsLogin), run: func(t *T) {
				t.session()
				t.reopen()
				s := t.open(rwSession)
				t.equal("the state of a new session", t.state(s), pkcs11.CKS_RW_PUBLIC_SESSION)
				t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
			}},
		Case{ID: "MOD-07", Name: "a function that the token lacks answers with a code", Clause: "v2.40 §5.1, CKR_FUNCTION_NOT_SUPPORTED",
			Ancestors: []string{"R-27", "client 42"}, run: func(t *T) {
				s := t.session()
				for _, c := range sessionCalls {
					if c.name == "Logout" || c.name == "Close" || c.name == "SetPIN" && !t.e.owned {
						continue
					}
					t.step(c.name, func() { t.coded(c.call(t.ctx, s)) })
				}
			}},
		Case{ID: "MOD-08", Name: "nil and wild arguments get a code and change nothing", Clause: "v2.40 §5.1, CKR_ARGUMENTS_BAD",
			Ancestors: []string{"R-15", "gap 12", "client 44"}, run: hostile},
		Case{ID: "MOD-09", Name: "the driver implements what its mechanism table says, and the table says what it implements", Clause: "package driver",
			needs: needs(wantsDriver), run: driverTable},
	)
}

// coded checks that an error, if it is one, holds a code of the standard.
func (t *T) coded(err error) {
	t.checked()
	var code pkcs11.Error
	if err != nil && !errors.As(err, &code) {
		t.fatalf("the error %v wraps no code", err)
	}
	if err != nil && (code == 0 || strings.HasPrefix(code.Error(), "CKR_0x")) {
		t.fatalf("the error %v wraps the code %#x, which the standard does not have", err, uint32(code))
	}
}

func (t *T) state(s cryptoki.Session) pkcs11.SessionState {
	info, err := s.Info(t.ctx)
	t.ok(err)
	return info.State
}

// A moduleCall calls a function of a module with reasonable arguments.
type moduleCall struct {
	name string
	slot bool
	call func(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID) error
}

var moduleCalls = []moduleCall{
	{"Info", false, func(ctx context.Context, m cryptoki.Module, _ pkcs11.SlotID) error { _, err := m.Info(ctx); return err }},
	{"Slots", false, func(ctx context.Context, m cryptoki.Module, _ pkcs11.SlotID) error {
		_, err := m.Slots(ctx, true)
		return err
	}},
	{"SlotInfo", true, func(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID) error {
		_, err := m.SlotInfo(ctx, slot)
		return err
	}},
	{"TokenInfo", true, func(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID) error {
		_, err := m.TokenInfo(ctx, slot)
		return err
	}},
	{"Mechanisms", true, func(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID) error {
		_, err := m.Mechanisms(ctx, slot)
		return err
	}},
	{"MechanismInfo", true, func(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID) error {
		_, err := m.MechanismInfo(ctx, slot, pkcs11.CKM_SHA256)
		return err
	}},
	{"InitToken", true, func(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID) error {
		return m.InitToken(ctx, slot, []byte("not the PIN"), "conformance")
	}},
	{"OpenSession", true, func(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID) error {
		_, err := m.OpenSession(ctx, slot, roSession)
		return err
	}},
	{"CloseAllSessions", true, func(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID) error {
		return m.CloseAllSessions(ctx, slot)
	}},
}

// A sessionCall calls a function of a session with arguments that are whole, if
// not good: handle 1 may be nothing.
type sessionCall struct {
	name string
	call func(ctx context.Context, s cryptoki.Session) error
}

// sessionCalls are all functions of a session, Close last.
var sessionCalls = []sessionCall{
	{"Info", func(ctx context.Context, s cryptoki.Session) error { _, err := s.Info(ctx); return err }},
	{"SessionCancel", func(ctx context.Context, s cryptoki.Session) error { return s.SessionCancel(ctx, pkcs11.CKF_SIGN) }},
	{"Login", func(ctx context.Context, s cryptoki.Session) error {
		return s.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, []byte("not the PIN"))
	}},
	{"Logout", func(ctx context.Context, s cryptoki.Session) error { return s.Logout(ctx) }},
	{"InitPIN", func(ctx context.Context, s cryptoki.Session) error { return s.InitPIN(ctx, []byte("not the PIN")) }},
	{"SetPIN", func(ctx context.Context, s cryptoki.Session) error { return s.SetPIN(ctx, nil, nil) }},
	{"CreateObject", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.CreateObject(ctx, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)})
		return err
	}},
	{"CopyObject", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.CopyObject(ctx, noObject, pkcs11.Template{attr(pkcs11.CKA_LABEL, "x")})
		return err
	}},
	{"DestroyObject", func(ctx context.Context, s cryptoki.Session) error { return s.DestroyObject(ctx, noObject) }},
	{"GetObjectSize", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.GetObjectSize(ctx, noObject)
		return err
	}},
	{"GetAttributeValue", func(ctx context.Context, s cryptoki.Session) error {
		return s.GetAttributeValue(ctx, noObject, classOnly())
	}},
	{"SetAttributeValue", func(ctx context.Context, s cryptoki.Session) error {
		return s.SetAttributeValue(ctx, noObject, pkcs11.Template{attr(pkcs11.CKA_LABEL, "x")})
	}},
	{"FindObjectsInit", func(ctx context.Context, s cryptoki.Session) error {
		return s.FindObjectsInit(ctx, pkcs11.Template{attr(pkcs11.CKA_LABEL, "no such label")})
	}},
	{"FindObjects", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.FindObjects(ctx, make([]pkcs11.ObjectHandle, 1))
		return err
	}},
	{"FindObjectsFinal", func(ctx context.Context, s cryptoki.Session) error { return s.FindObjectsFinal(ctx) }},
	{"EncryptInit", func(ctx context.Context, s cryptoki.Session) error {
		return s.EncryptInit(ctx, mech(pkcs11.CKM_RSA_PKCS), noObject)
	}},
	{"Encrypt", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.Encrypt(ctx, ecHash1, make([]byte, 256))
		return err
	}},
	{"EncryptUpdate", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.EncryptUpdate(ctx, ecHash1, make([]byte, 256))
		return err
	}},
	{"EncryptFinal", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.EncryptFinal(ctx, make([]byte, 256))
		return err
	}},
	{"DecryptInit", func(ctx context.Context, s cryptoki.Session) error {
		return s.DecryptInit(ctx, mech(pkcs11.CKM_RSA_PKCS), noObject)
	}},
	{"Decrypt", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.Decrypt(ctx, rsaSignature, make([]byte, 256))
		return err
	}},
	{"DecryptUpdate", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.DecryptUpdate(ctx, rsaSignature, make([]byte, 256))
		return err
	}},
	{"DecryptFinal", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.DecryptFinal(ctx, make([]byte, 256))
		return err
	}},
	{"DigestUpdate", func(ctx context.Context, s cryptoki.Session) error { return s.DigestUpdate(ctx, shaMessage) }},
	{"DigestKey", func(ctx context.Context, s cryptoki.Session) error { return s.DigestKey(ctx, noObject) }},
	{"DigestFinal", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.DigestFinal(ctx, make([]byte, 32))
		return err
	}},
	{"DigestInit", func(ctx context.Context, s cryptoki.Session) error { return s.DigestInit(ctx, sha256Mech) }},
	{"Digest", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.Digest(ctx, shaMessage, make([]byte, 32))
		return err
	}},
	{"SignInit", func(ctx context.Context, s cryptoki.Session) error {
		return s.SignInit(ctx, mech(pkcs11.CKM_ECDSA), noObject)
	}},
	{"Sign", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.Sign(ctx, ecHash1, make([]byte, 64))
		return err
	}},
	{"SignUpdate", func(ctx context.Context, s cryptoki.Session) error { return s.SignUpdate(ctx, ecHash1) }},
	{"SignFinal", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.SignFinal(ctx, make([]byte, 64))
		return err
	}},
	{"VerifyInit", func(ctx context.Context, s cryptoki.Session) error {
		return s.VerifyInit(ctx, mech(pkcs11.CKM_ECDSA), noObject)
	}},
	{"Verify", func(ctx context.Context, s cryptoki.Session) error { return s.Verify(ctx, ecHash1, make([]byte, 64)) }},
	{"VerifyUpdate", func(ctx context.Context, s cryptoki.Session) error { return s.VerifyUpdate(ctx, ecHash1) }},
	{"VerifyFinal", func(ctx context.Context, s cryptoki.Session) error { return s.VerifyFinal(ctx, make([]byte, 64)) }},
	{"GenerateKey", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.GenerateKey(ctx, mech(0x253), nil)
		return err
	}},
	{"GenerateKeyPair", func(ctx context.Context, s cryptoki.Session) error {
		_, _, err := s.GenerateKeyPair(ctx, mech(0x253), nil, nil)
		return err
	}},
	{"WrapKey", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.WrapKey(ctx, mech(pkcs11.CKM_AES_KEY_WRAP), noObject, noObject, make([]byte, 64))
		return err
	}},
	{"UnwrapKey", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.UnwrapKey(ctx, mech(pkcs11.CKM_AES_KEY_WRAP), noObject, make([]byte, 64), classOnly())
		return err
	}},
	{"DeriveKey", func(ctx context.Context, s cryptoki.Session) error {
		_, err := s.DeriveKey(ctx, mech(pkcs11.CKM_ECDH1_DERIVE), noObject, classOnly())
		return err
	}},
	{"SeedRandom", func(ctx context.Context, s cryptoki.Session) error { return s.SeedRandom(ctx, ecHash1) }},
	{"GenerateRandom", func(ctx context.Context, s cryptoki.Session) error { return s.GenerateRandom(ctx, make([]byte, 8)) }},
	{"Close", func(_ context.Context, s cryptoki.Session) error { return s.Close() }},
}

// noObject is a handle that no module has given.
const noObject = pkcs11.ObjectHandle(1<<63 + 12345)

// hostile calls everything with nothing, with handles that do not exist, and
// with values of the wrong kind, and then looks that the token still works.
func hostile(t *T) {
	s := t.session()
	wild := []pkcs11.ObjectHandle{0, noObject, ^pkcs11.ObjectHandle(0)}
	badMechs := []*pkcs11.Mechanism{nil, {}, {Type: 0xffffffff}, {Type: pkcs11.CKM_ECDSA, Params: 7},
		{Type: pkcs11.CKM_RSA_PKCS_PSS}, {Type: pkcs11.CKM_RSA_PKCS_PSS, Params: (*pkcs11.PSSParams)(nil)},
		{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: &pkcs11.PSSParams{SaltLen: ^uint64(0)}},
		{Type: pkcs11.CKM_AES_GCM, Params: (*pkcs11.GCMParams)(nil)}, {Type: pkcs11.CKM_ECDH1_DERIVE, Params: (*pkcs11.ECDH1DeriveParams)(nil)},
		{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: (*pkcs11.OAEPParams)(nil)}, {Type: pkcs11.CKM_EDDSA, Params: (*pkcs11.EDDSAParams)(nil)}}
	badTemplates := []pkcs11.Template{nil, {}, {{}}, {attr(pkcs11.CKA_CLASS, nil)}, {attr(pkcs11.CKA_CLASS, "text")},
		{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, []byte{3})},
		{attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), attr(pkcs11.CKA_VALUE, nil), attr(pkcs11.CKA_CERTIFICATE_TYPE, -1)},
		{attr(pkcs11.CKA_CLASS, pkcs11.ObjectClass(0xffffffff))}, {attr(pkcs11.CKA_TOKEN, 1)}, {attr(0xffffffff, struct{}{})},
		{attr(pkcs11.CKA_WRAP_TEMPLATE, pkcs11.Template{{}})}, {attr(pkcs11.CKA_LABEL, pkcs11.CKR_ATTRIBUTE_SENSITIVE)}}
	refused := func(what string, err error) {
		t.step(what, func() {
			t.coded(err)
			t.check(err != nil, "the call succeeded")
		})
	}
	handled := func(what string, err error) { t.step(what, func() { t.coded(err) }) }
	for _, h := range wild {
		for _, m := range badMechs {
			what := func(op string) string { return fmt.Sprintf("%s(%v, %d)", op, m, h) }
			refused(what("SignInit"), s.SignInit(t.ctx, m, h))
			refused(what("VerifyInit"), s.VerifyInit(t.ctx, m, h))
			refused(what("EncryptInit"), s.EncryptInit(t.ctx, m, h))
			refused(what("DecryptInit"), s.DecryptInit(t.ctx, m, h))
			refused(what("DigestInit"), s.DigestInit(t.ctx, m))
			_, err := s.WrapKey(t.ctx, m, h, h, nil)
			refused(what("WrapKey"), err)
			_, err = s.UnwrapKey(t.ctx, m, h, nil, nil)
			refused(what("UnwrapKey"), err)
			_, err = s.DeriveKey(t.ctx, m, h, nil)
			refused(what("DeriveKey"), err)
			_, err = s.GenerateKey(t.ctx, m, nil)
			refused(what("GenerateKey"), err)
		}
		for _, template := range badTemplates {
			what := func(op string) string { return fmt.Sprintf("%s(%d, %v)", op, h, template) }
			refused(what("GetAttributeValue"), s.GetAttributeValue(t.ctx, h, template))
			refused(what("SetAttributeValue"), s.SetAttributeValue(t.ctx, h, template))
			_, err := s.CopyObject(t.ctx, h, template)
			refused(what("CopyObject"), err)
		}
		refused("DestroyObject", s.DestroyObject(t.ctx, h))
		_, err := s.GetObjectSize(t.ctx, h)
		refused("GetObjectSize", err)
	}
	for _, template := range badTemplates {
		_, err := s.CreateObject(t.ctx, template)
		refused(fmt.Sprintf("CreateObject(%v)", template), err)
		_, _, err = s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), template, template)
		refused(fmt.Sprintf("GenerateKeyPair(%v)", template), err)
		if err := s.FindObjectsInit(t.ctx, template); err == nil {
			_, err = s.FindObjects(t.ctx, nil)
			handled("FindObjects(nil)", err)
			t.cancel(s, pkcs11.CKF_FIND_OBJECTS)
		} else {
			handled(fmt.Sprintf("FindObjectsInit(%v)", template), err)
		}
	}
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"Sign", func() error { _, err := s.Sign(t.ctx, nil, nil); return err }},
		{"SignUpdate", func() error { return s.SignUpdate(t.ctx, nil) }},
		{"SignFinal", func() error { _, err := s.SignFinal(t.ctx, nil); return err }},
		{"Verify", func() error { return s.Verify(t.ctx, nil, nil) }},
		{"VerifyUpdate", func() error { return s.VerifyUpdate(t.ctx, nil) }},
		{"VerifyFinal", func() error { return s.VerifyFinal(t.ctx, nil) }},
		{"Digest", func() error { _, err := s.Digest(t.ctx, nil, nil); return err }},
		{"DigestUpdate", func() error { return s.DigestUpdate(t.ctx, nil) }},
		{"DigestFinal", func() error { _, err := s.DigestFinal(t.ctx, nil); return err }},
		{"DigestKey", func() error { return s.DigestKey(t.ctx, 0) }},
		{"Encrypt", func() error { _, err := s.Encrypt(t.ctx, nil, nil); return err }},
		{"Decrypt", func() error { _, err := s.Decrypt(t.ctx, nil, nil); return err }},
		{"FindObjects", func() error { _, err := s.FindObjects(t.ctx, nil); return err }},
		{"FindObjectsFinal", func() error { return s.FindObjectsFinal(t.ctx) }},
		{"Login of nobody", func() error { return s.Login(t.ctx, 99, nil) }},
	} {
		if err := c.call(); c.name == "Login of nobody" && !t.e.can.login {
			handled(c.name, err)
		} else {
			refused(c.name, err)
		}
	}
	if t.e.has(pkcs11.CKM_SHA256, pkcs11.CKF_DIGEST, 0) {
		t.ok(s.DigestInit(t.ctx, sha256Mech))
		t.ok(s.DigestUpdate(t.ctx, shaMessage))
		digest := make([]byte, 32)
		_, err := s.DigestFinal(t.ctx, digest)
		t.ok(err)
		t.equal("a digest after all this", digest, shaDigest)
	}
}

var wantsDriver = ability("Target.Open", "the target is a module: its driver cannot be asked", func(e *env) bool { return e.target.Open != nil })

// driverTable compares the mechanism table of the driver with its interfaces, in
// both directions.
func driverTable(t *T) {
	t.closeModule()
	token, err := t.e.target.Open(t.ctx)
	t.check(err == nil, "open the token: %v", err)
	defer token.Close()
	flags := uint64(0)
	seen := map[pkcs11.MechanismType]bool{}
	for _, m := range token.Mechanisms() {
		t.check(!seen[m.Type], "%v is twice in the driver's table", m.Type)
		seen[m.Type] = true
		t.check(m.Flags != 0, "%v has no flags", m.Type)
		t.check(m.MinKeySize <= m.MaxKeySize, "%v has key sizes from %d to %d", m.Type, m.MinKeySize, m.MaxKeySize)
		flags |= m.Flags
	}
	_, pairs := token.(driver.KeyPairGenerator)
	t.check(pairs == (flags&pkcs11.CKF_GENERATE_KEY_PAIR != 0), "driver.KeyPairGenerator: %v; CKF_GENERATE_KEY_PAIR in the table: %v", pairs, !pairs)
	_, keys := token.(driver.KeyGenerator)
	t.check(keys == (flags&pkcs11.CKF_GENERATE != 0), "driver.KeyGenerator: %v; CKF_GENERATE in the table: %v", keys, !keys)
	info := token.Info()
	_, auth := token.(driver.Authenticator)
	t.check(auth || info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0, "CKF_LOGIN_REQUIRED is set and driver.Authenticator is missing")
	t.check(info.SerialNumber != "" && len(info.SerialNumber) <= 16, "the serial number %q does not have 1 to 16 bytes", info.SerialNumber)
	objects, err := token.Objects(t.ctx)
	t.check(err == nil, "Objects: %v", err)
	ids := map[string]bool{}
	for _, o := range objects {
		t.check(o.ID() != "" && !ids[o.ID()], "the ID %q is empty or not the only one", o.ID())
		ids[o.ID()] = true
		a := o.Attributes()
		t.check(a.Has(pkcs11.CKA_CLASS), "object %s has no CKA_CLASS", o.ID())
		_, signs := o.(driver.Signer)
		if pkcs11.ObjectClass(a.Uint(pkcs11.CKA_CLASS)) == pkcs11.CKO_PRIVATE_KEY && a.Bool(pkcs11.CKA_SIGN) {
			t.check(signs, "object %s has CKA_SIGN and is no driver.Signer", o.ID())
		}
		t.check(!signs || flags&pkcs11.CKF_SIGN != 0, "object %s is a driver.Signer and nothing in the table has CKF_SIGN", o.ID())
		for _, secret := range []pkcs11.AttributeType{pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2, pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT} {
			t.check(!a.Has(secret), "object %s shows %v in Attributes", o.ID(), secret)
		}
		if a.Bool(pkcs11.CKA_SENSITIVE) {
			t.check(!a.Has(pkcs11.CKA_VALUE), "object %s is sensitive and shows CKA_VALUE in Attributes", o.ID())
		}
	}
}
