package conformance

import (
	"errors"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	wrongPIN  = []byte("wrong PIN 31415")
	pinBad    = pkcs11.CKR_PIN_INCORRECT
	notLogged = pkcs11.CKR_USER_NOT_LOGGED_IN
)

func loginCases() []Case {
	all := suite("login", true,
		Case{ID: "LOG-01", Name: "a wrong PIN logs nobody in", Clause: "v2.40 §5.6, C_Login",
			Ancestors: []string{"R-28", "gap 24"}, needs: needs(wantsOwned), run: func(t *T) { // a wrong PIN uses up a try
				s := t.open(rwSession)
				t.want(s.Login(t.ctx, pkcs11.CKU_USER, wrongPIN), pinBad)
				t.equal("the state", t.state(s), pkcs11.CKS_RW_PUBLIC_SESSION)
				t.want(s.Login(t.ctx, pkcs11.CKU_USER, append([]byte(string(t.e.target.UserPIN)), 0)), pinBad, pkcs11.CKR_PIN_LEN_RANGE)
				t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
			}},
		Case{ID: "LOG-02", Name: "a login is that of all sessions, and a second one is an error even with a wrong PIN", Clause: "v2.40 §5.6, C_Login",
			Ancestors: []string{"client 14", "client 15"}, run: func(t *T) {
				a, b := t.session(), t.open(roSession)
				t.equal("the state of another session", t.state(b), pkcs11.CKS_RO_USER_FUNCTIONS)
				t.want(b.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN), pkcs11.CKR_USER_ALREADY_LOGGED_IN)
				if t.e.owned { // else a module that is wrong here uses up a try
					t.want(a.Login(t.ctx, pkcs11.CKU_USER, wrongPIN), pkcs11.CKR_USER_ALREADY_LOGGED_IN)
					t.ok(b.Close()) // it would be a reason too
					t.want(a.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN), pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
				}
				t.equal("the state after all this", t.state(a), pkcs11.CKS_RW_USER_FUNCTIONS)
			}},
		Case{ID: "LOG-03", Name: "a login ends with the last session, not before", Clause: "v2.40 §5.6, C_CloseSession",
			Ancestors: []string{"client 14"}, run: func(t *T) {
				a, b := t.session(), t.open(rwSession)
				t.ok(a.Close())
				t.equal("the state of the one that is left", t.state(b), pkcs11.CKS_RW_USER_FUNCTIONS)
				t.ok(b.Close())
				s := t.open(rwSession)
				t.equal("the state of a new session", t.state(s), pkcs11.CKS_RW_PUBLIC_SESSION)
				t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
			}},
		Case{ID: "LOG-04", Name: "Logout is for those logged in, and hides what is private", Clause: "v2.40 §5.6, C_Logout",
			Ancestors: []string{"client 15", "client 18", "client 38"}, needs: needs(ecSign), run: logout},
		Case{ID: "LOG-05", Name: "private objects are invisible before the login, and public ones are not", Clause: "v2.40 §5.7, C_FindObjectsInit; §4.4",
			Ancestors: []string{"R-28", "client 19", "client 38", "client rule R5"}, needs: needs(ecSign), run: beforeLogin},
		Case{ID: "LOG-06", Name: "an unknown user and a context-specific login out of place are refused", Clause: "v2.40 §5.6, C_Login",
			Ancestors: []string{"client 16"}, run: func(t *T) {
				s := t.open(rwSession)
				t.want(s.Login(t.ctx, pkcs11.UserType(99), t.e.target.UserPIN), pkcs11.CKR_USER_TYPE_INVALID)
				t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
				t.want(s.Login(t.ctx, pkcs11.CKU_CONTEXT_SPECIFIC, t.e.target.UserPIN), notStarted)
				t.equal("the state", t.state(s), pkcs11.CKS_RW_USER_FUNCTIONS)
			}},
		Case{ID: "LOG-07", Name: "SetPIN changes the user's PIN, for the next program too", Clause: "v2.40 §5.5, C_SetPIN",
			needs: needs(wantsSetPIN, wantsOwned), run: setPIN},
		Case{ID: "LOG-08", Name: "only the SO initializes the PIN", Clause: "v2.40 §5.5, C_InitPIN",
			Ancestors: []string{"client 15"}, needs: needs(wantsSetPIN, wantsOwned, wantsSO), run: func(t *T) {
				s := t.open(rwSession)
				t.want(s.InitPIN(t.ctx, t.e.target.UserPIN), notLogged)
				t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
				t.want(s.InitPIN(t.ctx, t.e.target.UserPIN), notLogged)
				t.ok(s.Logout(t.ctx))
				t.ok(s.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN))
				t.equal("the state", t.state(s), pkcs11.CKS_RW_SO_FUNCTIONS)
				t.ok(s.InitPIN(t.ctx, t.e.target.UserPIN))
				t.ok(s.Logout(t.ctx))
				t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
			}},
		Case{ID: "LOG-09", Name: "the SO and read-only sessions exclude each other", Clause: "v2.40 §5.6, CKR_SESSION_READ_ONLY_EXISTS",
			Ancestors: []string{"client 13", "client 15"}, needs: needs(wantsOwned, wantsInit), run: func(t *T) {
				ro, rw := t.open(roSession), t.open(rwSession)
				t.want(rw.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN), pkcs11.CKR_SESSION_READ_ONLY_EXISTS)
				t.ok(ro.Close())
				t.want(rw.Login(t.ctx, pkcs11.CKU_SO, wrongPIN), pinBad)
				t.ok(rw.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN))
				_, err := t.module().OpenSession(t.ctx, t.e.slot, roSession)
				t.want(err, pkcs11.CKR_SESSION_READ_WRITE_SO_EXISTS)
				t.want(rw.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN), pkcs11.CKR_USER_ALREADY_LOGGED_IN)
				t.want(rw.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN), pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
			}},
		Case{ID: "LOG-10", Name: "the SO sees and uses no private object", Clause: "v2.40 §4.4, §2.4 of the usage guide",
			needs: needs(ecSign, wantsOwned, wantsInit), run: func(t *T) {
				s := t.session()
				keys := t.newEC(s, t.label("key"))
				t.ok(s.Logout(t.ctx))
				t.ok(s.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN))
				t.equal("private keys that the SO finds", len(t.all(s, attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY))), 0)
				t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), keys.priv), pkcs11.CKR_KEY_HANDLE_INVALID, notLogged)
			}},
		Case{ID: "LOG-11", Name: "too many wrong PINs lock the PIN, and the SO unlocks it", Clause: "v2.40 §5.6, CKR_PIN_LOCKED",
			Ancestors: []string{"gap 24", "client 15"}, needs: needs(wantsSetPIN, wantsOwned, wantsInit), run: lockPIN},
		Case{ID: "LOG-12", Name: "a PIN that is too short or too long is refused", Clause: "v2.40 §5.5, CKR_PIN_LEN_RANGE",
			Ancestors: []string{"client 15"}, needs: needs(wantsSetPIN, wantsOwned, wantsSO), run: func(t *T) {
				info, err := t.module().TokenInfo(t.ctx, t.e.slot)
				t.ok(err)
				t.check(info.MinPinLen <= uint64(len(t.e.target.UserPIN)), "MinPinLen is %d and the PIN shorter", info.MinPinLen)
				s := t.session()
				if info.MinPinLen > 0 {
					t.want(s.SetPIN(t.ctx, t.e.target.UserPIN, make([]byte, info.MinPinLen-1)), pkcs11.CKR_PIN_LEN_RANGE)
				}
				if info.MaxPinLen > 0 && info.MaxPinLen < 1<<16 {
					long := make([]byte, info.MaxPinLen+1)
					err := s.SetPIN(t.ctx, t.e.target.UserPIN, long)
					if err == nil { // later cases want the PIN
						s.SetPIN(t.ctx, long, t.e.target.UserPIN)
					}
					t.want(err, pkcs11.CKR_PIN_LEN_RANGE)
				}
				ro := t.open(roSession)
				t.want(ro.InitPIN(t.ctx, t.e.target.UserPIN), pkcs11.CKR_SESSION_READ_ONLY, notLogged) // it is both
				t.ok(ro.Close())
				t.ok(s.Logout(t.ctx))
				t.ok(s.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN))
				if info.MinPinLen > 0 {
					t.want(s.InitPIN(t.ctx, make([]byte, info.MinPinLen-1)), pkcs11.CKR_PIN_LEN_RANGE)
				}
				t.ok(s.Close())
				t.session()
			}},
		Case{ID: "LOG-13", Name: "a key that always authenticates wants the PIN for each signature", Clause: "v2.40 §4.9, CKA_ALWAYS_AUTHENTICATE; §5.6, CKU_CONTEXT_SPECIFIC",
			Ancestors: []string{"client 16", "client 31"}, needs: needs(ecSign, wantsImport, wantsOwned), run: alwaysAuthenticate},
	)
	for i := range all {
		all[i].needs = append([]need{wantsLogin}, all[i].needs...)
	}
	return all
}

func logout(t *T) {
	s := t.open(rwSession)
	t.want(s.Logout(t.ctx), notLogged)
	t.login(s)
	keys := t.newEC(s, t.label("key"))
	t.ok(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), keys.priv))
	t.ok(s.Logout(t.ctx))
	t.equal("the state", t.state(s), pkcs11.CKS_RW_PUBLIC_SESSION)
	_, err := s.Sign(t.ctx, ecHash1, make([]byte, 64))
	t.check(err != nil, "a signature that began before the logout was made after it")
	t.coded(err)
	t.want(s.GetAttributeValue(t.ctx, keys.priv, classOnly()), pkcs11.CKR_OBJECT_HANDLE_INVALID, notLogged)
	t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), keys.priv), pkcs11.CKR_KEY_HANDLE_INVALID, notLogged)
	h := t.find(s, keys.label, pkcs11.CKO_PRIVATE_KEY)
	t.check(h == 0, "the private key is found after the logout")
	t.mustFind(s, keys.label, pkcs11.CKO_PUBLIC_KEY)
	t.login(s)
	priv := t.mustFind(s, keys.label, pkcs11.CKO_PRIVATE_KEY)
	t.verifyHost(keys.ec, ecHash1, t.sign(s, mech(pkcs11.CKM_ECDSA), priv, ecHash1))
}

func beforeLogin(t *T) {
	s := t.session()
	keys := t.newEC(s, t.label("key"))
	if t.e.can.create {
		t.create(s, certTemplate(keys.label, ecCert))
	}
	t.reopen()
	s = t.open(rwSession)
	t.equal("private keys found before the login", len(t.all(s, attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY))), 0)
	t.equal("private objects found before the login", len(t.all(s, attr(pkcs11.CKA_PRIVATE, true))), 0)
	pub := t.mustFind(s, keys.label, pkcs11.CKO_PUBLIC_KEY)
	if t.e.can.create {
		t.equal("the certificate", t.bytes(s, t.mustFind(s, keys.label, pkcs11.CKO_CERTIFICATE), pkcs11.CKA_VALUE), ecCert)
		_, err := s.CreateObject(t.ctx, ecPrivateTemplate(t.label("not logged in"), ecKey))
		if t.e.profile.Import {
			t.want(err, notLogged)
		}
	}
	if t.e.has(pkcs11.CKM_ECDSA, pkcs11.CKF_VERIFY, 256) && t.e.profile.Import {
		// Nobody has to log in to verify.
		t.want(t.verify(s, mech(pkcs11.CKM_ECDSA), pub, ecHash1, make([]byte, 64)), pkcs11.CKR_SIGNATURE_INVALID)
	}
	if t.e.profile.Generate {
		public, private := ecGenerateTemplates(t.label("not logged in"), t.label("not logged in"))
		_, _, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public, private)
		t.want(err, notLogged)
	}
	t.login(s)
	t.mustFind(s, keys.label, pkcs11.CKO_PRIVATE_KEY)
	t.equal("objects made before the login", len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("not logged in")))), 0)
}

// relogin closes everything and logs in with a PIN.
func relogin(t *T, pin []byte, codes ...pkcs11.Error) *session {
	t.reopen()
	s := t.open(rwSession)
	t.want(s.Login(t.ctx, pkcs11.CKU_USER, pin), codes...)
	return s
}

func setPIN(t *T) {
	old, other := t.e.target.UserPIN, []byte("27182818")
	s := t.session()
	t.want(s.SetPIN(t.ctx, wrongPIN, other), pinBad)
	t.ok(s.SetPIN(t.ctx, old, other))
	t.cleanup(func() { // whatever happens, the PIN is the one it was
		s := t.open(rwSession)
		if t.state(s) == pkcs11.CKS_RW_PUBLIC_SESSION && s.Login(t.ctx, pkcs11.CKU_USER, other) != nil {
			return
		}
		s.SetPIN(t.ctx, other, old)
	})
	relogin(t, old, pinBad)
	s = relogin(t, other)
	ro := t.open(roSession)
	t.want(ro.SetPIN(t.ctx, other, old), pkcs11.CKR_SESSION_READ_ONLY)
	t.ok(s.Logout(t.ctx))
	t.ok(s.SetPIN(t.ctx, other, old)) // the user's, if nobody is logged in
	relogin(t, other, pinBad)
	relogin(t, old)
}

func lockPIN(t *T) {
	s := t.open(rwSession)
	locked := false
	for range 20 {
		err := s.Login(t.ctx, pkcs11.CKU_USER, wrongPIN)
		t.want(err, pinBad, pkcs11.CKR_PIN_LOCKED)
		if errors.Is(err, pkcs11.CKR_PIN_LOCKED) {
			locked = true
			break
		}
	}
	flags := func() uint64 {
		info, err := t.module().TokenInfo(t.ctx, t.e.slot)
		t.ok(err)
		return info.Flags
	}
	if !locked {
		// A device may have more tries, and count for all who use it.
		t.check(flags()&(pkcs11.CKF_USER_PIN_FINAL_TRY|pkcs11.CKF_USER_PIN_LOCKED) == 0,
			"after 20 wrong PINs the token is not locked, and says that it is, or that it would be with the next: %#x", flags())
		t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
		return
	}
	t.cleanup(func() { // a later case wants to log in
		s := t.open(rwSession)
		s.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN)
		s.InitPIN(t.ctx, t.e.target.UserPIN)
		s.Logout(t.ctx)
	})
	t.check(flags()&pkcs11.CKF_USER_PIN_LOCKED != 0, "the PIN is locked, and CKF_USER_PIN_LOCKED is not set: %#x", flags())
	t.want(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN), pkcs11.CKR_PIN_LOCKED)
	t.want(s.SetPIN(t.ctx, t.e.target.UserPIN, []byte("27182818")), pkcs11.CKR_PIN_LOCKED)
	t.reopen() // switching off and on gives no new tries
	s = t.open(rwSession)
	t.want(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN), pkcs11.CKR_PIN_LOCKED)
	t.ok(s.Login(t.ctx, pkcs11.CKU_SO, t.e.target.SOPIN))
	t.ok(s.InitPIN(t.ctx, t.e.target.UserPIN))
	t.ok(s.Logout(t.ctx))
	t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
	t.check(flags()&pkcs11.CKF_USER_PIN_LOCKED == 0, "CKF_USER_PIN_LOCKED is set after the SO set a PIN")
}

func alwaysAuthenticate(t *T) {
	s := t.session()
	template := ecPrivateTemplate(t.label("key"), ecKey).Set(attr(pkcs11.CKA_ALWAYS_AUTHENTICATE, true))
	priv := t.create(s, template.Set(attr(pkcs11.CKA_PRIVATE, true)))
	t.check(t.bool(s, priv, pkcs11.CKA_ALWAYS_AUTHENTICATE), "CKA_ALWAYS_AUTHENTICATE was set and is false")
	m, sig := mech(pkcs11.CKM_ECDSA), make([]byte, 64)
	t.ok(s.SignInit(t.ctx, m, priv))
	_, err := s.Sign(t.ctx, ecHash1, sig)
	t.want(err, notLogged)
	for range 2 {
		t.cancel(s, pkcs11.CKF_SIGN)
		t.ok(s.SignInit(t.ctx, m, priv))
		t.check(t.bool(s, priv, pkcs11.CKA_ALWAYS_AUTHENTICATE), "CKA_ALWAYS_AUTHENTICATE changed")
		t.ok(s.Login(t.ctx, pkcs11.CKU_CONTEXT_SPECIFIC, t.e.target.UserPIN))
		n, err := s.Sign(t.ctx, ecHash1, sig)
		t.ok(err)
		t.verifyHost(&ecKey.PublicKey, ecHash1, sig[:n])
	}
	t.ok(s.SignInit(t.ctx, m, priv))
	t.want(s.Login(t.ctx, pkcs11.CKU_CONTEXT_SPECIFIC, wrongPIN), pinBad)
	_, err = s.Sign(t.ctx, ecHash1, sig)
	t.want(err, notLogged)
	t.equal("the state", t.state(s), pkcs11.CKS_RW_USER_FUNCTIONS)
}
