package conformance

import (
	"fmt"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func tokenCases() []Case {
	return suite("token", true,
		Case{ID: "TOK-01", Name: "the token describes itself, and truthfully", Clause: "v2.40 §5.5, C_GetTokenInfo",
			Ancestors: []string{"R-14", "client 9", "client 10", "client 11"}, run: tokenInfo},
		Case{ID: "TOK-02", Name: "every mechanism in the list can be asked about, and no other", Clause: "v2.40 §5.5, C_GetMechanismInfo",
			Ancestors: []string{"R-29", "client 12"}, run: mechanismList},
		Case{ID: "TOK-03", Name: "InitToken destroys everything, and wants the SO PIN for it", Clause: "v2.40 §5.5, C_InitToken",
			Ancestors: []string{"R-28", "client 9"}, needs: needs(wantsInit, wantsOwned, wantsCreate), run: initToken},
		Case{ID: "TOK-04", Name: "a slot describes itself", Clause: "v2.40 §5.5, C_GetSlotInfo",
			Ancestors: []string{"client 8", "client 9"}, run: func(t *T) {
				info, err := t.module().SlotInfo(t.ctx, t.e.slot)
				t.ok(err)
				t.check(info.Flags&pkcs11.CKF_TOKEN_PRESENT != 0, "CKF_TOKEN_PRESENT is not set")
				t.check(info.Description != "" && len(info.Description) <= 64, "the description %q does not have 1 to 64 bytes", info.Description)
				t.check(len(info.ManufacturerID) <= 32, "the manufacturer %q is longer than 32 bytes", info.ManufacturerID)
			}},
		Case{ID: "TOK-05", Name: "a token with PINs logs in, one without accepts a login", Clause: "v2.40 §5.6, C_Login",
			Ancestors: []string{"client 10"}, run: func(t *T) {
				s := t.open(rwSession)
				t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
			}},
	)
}

func tokenInfo(t *T) {
	m := t.module()
	info, err := m.TokenInfo(t.ctx, t.e.slot)
	t.ok(err)
	t.check(info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0, "CKF_TOKEN_INITIALIZED is not set")
	t.check(info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 || info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED != 0,
		"CKF_LOGIN_REQUIRED is set, CKF_USER_PIN_INITIALIZED is not")
	for _, f := range []struct {
		name, text string
		max        int
	}{{"label", info.Label, 32}, {"manufacturer", info.ManufacturerID, 32}, {"model", info.Model, 16}, {"serial number", info.SerialNumber, 16}} {
		t.check(len(f.text) <= f.max, "the %s %q is longer than %d bytes", f.name, f.text, f.max)
		t.check(f.text == strings.TrimRight(f.text, " \x00"), "the %s %q is padded", f.name, f.text)
	}
	t.check(info.SerialNumber != "", "the serial number is empty")
	if t.e.owned && t.e.can.initialize {
		t.equal("the label", info.Label, t.e.target.TokenLabel)
	}
	t.check(info.MaxSessionCount != 1, "MaxSessionCount is 1")
	// Numbers follow what is open.
	if info.SessionCount != pkcs11.Unavailable {
		t.equal("SessionCount with nothing open", info.SessionCount, uint64(0))
		t.open(rwSession)
		t.open(roSession)
		with, err := m.TokenInfo(t.ctx, t.e.slot)
		t.ok(err)
		t.equal("SessionCount with two open", with.SessionCount, uint64(2))
		if with.RwSessionCount != pkcs11.Unavailable {
			t.equal("RwSessionCount with one of them read-write", with.RwSessionCount, uint64(1))
		}
	}
	again, err := t.reopen().TokenInfo(t.ctx, t.e.slot)
	t.ok(err)
	t.equal("label, manufacturer, model and serial number after a restart",
		[]string{again.Label, again.ManufacturerID, again.Model, again.SerialNumber},
		[]string{info.Label, info.ManufacturerID, info.Model, info.SerialNumber})
}

func mechanismList(t *T) {
	m := t.module()
	list, err := m.Mechanisms(t.ctx, t.e.slot)
	t.ok(err)
	seen := map[pkcs11.MechanismType]bool{}
	for _, typ := range list {
		t.step(typ.String(), func() {
			t.check(!seen[typ], "it is listed twice")
			seen[typ] = true
			info, err := m.MechanismInfo(t.ctx, t.e.slot, typ)
			t.ok(err)
			t.check(info.Flags&^uint64(pkcs11.CKF_HW) != 0, "it has no flags")
			t.check(info.MinKeySize <= info.MaxKeySize, "its key sizes are %d to %d", info.MinKeySize, info.MaxKeySize)
			if typ == pkcs11.CKM_ECDSA || typ == pkcs11.CKM_EC_KEY_PAIR_GEN {
				want := uint64(pkcs11.CKF_EC_F_P | pkcs11.CKF_EC_NAMEDCURVE | pkcs11.CKF_EC_UNCOMPRESS)
				t.check(info.Flags&want == want, "the flags %#x lack some of CKF_EC_F_P, CKF_EC_NAMEDCURVE and CKF_EC_UNCOMPRESS", info.Flags)
				t.check(info.MaxKeySize >= 160, "key sizes of EC are in bits; the largest is %d", info.MaxKeySize)
			}
			if info.Flags&pkcs11.CKF_SIGN != 0 && (typ == pkcs11.CKM_ECDSA || typ == pkcs11.CKM_RSA_PKCS) {
				t.check(info.Flags&pkcs11.CKF_VERIFY != 0, "it signs and does not verify")
			}
		})
	}
	for _, typ := range []pkcs11.MechanismType{0x253, 0xfffffffe} {
		t.check(!seen[typ], "%v is listed", typ)
		_, err := m.MechanismInfo(t.ctx, t.e.slot, typ)
		t.want(err, badMech)
	}
	if len(list) > 0 {
		list[0] = 0xfffffffe // the slice is the caller's
		again, err := m.Mechanisms(t.ctx, t.e.slot)
		t.ok(err)
		t.check(again[0] != 0xfffffffe, "a change to the returned list changed the module's")
	}
}

func initToken(t *T) {
	m := t.module()
	before, err := m.TokenInfo(t.ctx, t.e.slot)
	t.ok(err)
	s := t.session()
	label := t.label("cert")
	t.create(s, certTemplate(label, ecCert))
	t.want(m.InitToken(t.ctx, t.e.slot, t.e.target.SOPIN, "other"), pkcs11.CKR_SESSION_EXISTS)
	t.ok(m.CloseAllSessions(t.ctx, t.e.slot))
	if t.e.can.login {
		t.want(m.InitToken(t.ctx, t.e.slot, wrongPIN, "other"), pinBad)
	}
	s = t.session()
	t.mustFind(s, label, pkcs11.CKO_CERTIFICATE)
	t.ok(s.Close())
	t.ok(m.CloseAllSessions(t.ctx, t.e.slot))
	t.want(m.InitToken(t.ctx, t.e.slot, t.e.target.SOPIN, strings.Repeat("x", 33)), badArgs)
	set := false
	t.cleanup(func() { // a later case wants the PIN
		if set {
			return
		}
		if err := t.e.initPIN(t.ctx, true); err != nil {
			t.errorf("set the PIN again: %v", err)
		}
	})
	t.ok(m.InitToken(t.ctx, t.e.slot, t.e.target.SOPIN, t.e.target.TokenLabel))
	info, err := m.TokenInfo(t.ctx, t.e.slot)
	t.ok(err)
	t.equal("the label", info.Label, t.e.target.TokenLabel)
	t.equal("the serial number", info.SerialNumber, before.SerialNumber)
	if t.e.can.login {
		t.check(info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0, "CKF_USER_PIN_INITIALIZED is set on a new token")
		s := t.open(rwSession)
		t.want(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN), pkcs11.CKR_USER_PIN_NOT_INITIALIZED, pinBad)
		t.ok(s.Close())
	}
	t.ok(t.e.initPIN(t.ctx, true))
	set = true
	s = t.session()
	t.equal("objects on a new token", fmt.Sprint(t.all(s)), "[]")
}
