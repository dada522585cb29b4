package conformance

import (
	"errors"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func sessionCases() []Case {
	return suite("session", true,
		Case{ID: "SES-01", Name: "every function of a closed session says that it is closed", Clause: "v2.40 §5.6, C_CloseSession",
			Ancestors: []string{"R-18", "gap 12", "client 17"}, run: func(t *T) {
				keep := t.session()
				s := t.closedSession()
				for _, c := range sessionCalls {
					t.step(c.name, func() { t.want(c.call(t.ctx, s), badSession) })
				}
				t.state(keep)
			}},
		Case{ID: "SES-02", Name: "CKF_SERIAL_SESSION is demanded", Clause: "v2.40 §5.6, C_OpenSession",
			Ancestors: []string{"client 13"}, run: func(t *T) {
				for _, flags := range []pkcs11.SessionFlags{0, pkcs11.SessionFlags(pkcs11.CKF_RW_SESSION)} {
					_, err := t.module().OpenSession(t.ctx, t.e.slot, flags)
					t.want(err, pkcs11.CKR_SESSION_PARALLEL_NOT_SUPPORTED)
				}
			}},
		Case{ID: "SES-03", Name: "a session tells its slot, flags and state", Clause: "v2.40 §5.6, C_GetSessionInfo",
			Ancestors: []string{"client 14"}, run: sessionStates},
		Case{ID: "SES-04", Name: "a read-only session changes no token object", Clause: "v2.40 §5.6, CKR_SESSION_READ_ONLY",
			Ancestors: []string{"R-28", "client 13"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				label := t.label("cert")
				h := t.create(s, certTemplate(label, ecCert))
				ro := t.open(roSession)
				readOnly := pkcs11.CKR_SESSION_READ_ONLY
				_, err := ro.CreateObject(t.ctx, certTemplate(label, ecCert))
				t.want(err, readOnly)
				if t.e.can.destroy {
					t.want(ro.DestroyObject(t.ctx, h), readOnly)
				}
				if t.e.can.update {
					t.want(ro.SetAttributeValue(t.ctx, h, pkcs11.Template{attr(pkcs11.CKA_LABEL, label+"2")}), readOnly)
				}
				if ecGen[0].met(t.e) && ecGen[2].met(t.e) {
					public, private := ecGenerateTemplates(label, label)
					_, _, err = ro.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public, private)
					t.want(err, readOnly)
				}
				t.equal("the label after all this", t.get(ro, h, pkcs11.CKA_LABEL).Text(), label)
				t.equal("objects with the label", len(t.all(ro, attr(pkcs11.CKA_LABEL, label))), 1)
			}},
		Case{ID: "SES-05", Name: "sessions open up to the limit, and again after one was closed", Clause: "v2.40 §5.6, CKR_SESSION_COUNT",
			Ancestors: []string{"gap 23", "client 11"}, run: exhaustSessions},
		Case{ID: "SES-06", Name: "CloseAllSessions closes all of them, and the login with them", Clause: "v2.40 §5.6, C_CloseAllSessions",
			Ancestors: []string{"client 14"}, run: func(t *T) {
				a, b := t.session(), t.open(roSession)
				t.ok(t.module().CloseAllSessions(t.ctx, t.e.slot))
				_, err := a.Info(t.ctx)
				t.want(err, badSession)
				t.want(b.FindObjectsInit(t.ctx, nil), badSession)
				s := t.open(rwSession)
				if t.e.can.login {
					t.equal("the state of a new session", t.state(s), pkcs11.CKS_RW_PUBLIC_SESSION)
					t.ok(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
				}
				t.ok(t.module().CloseAllSessions(t.ctx, t.e.slot))
				t.ok(t.module().CloseAllSessions(t.ctx, t.e.slot))
			}},
		Case{ID: "SES-07", Name: "a session object ends with its session, a token object does not", Clause: "v2.40 §4.4, §5.6",
			Ancestors: []string{"client 18"}, needs: needs(wantsCreate), run: func(t *T) {
				keep, s := t.session(), t.open(rwSession)
				label := t.label("cert")
				lasting := t.create(s, certTemplate(label, ecCert))
				template := certTemplate(label, ecCert).Set(attr(pkcs11.CKA_TOKEN, false))
				passing := t.create(s, template)
				t.check(!t.bool(keep, passing, pkcs11.CKA_TOKEN), "CKA_TOKEN of a session object is true")
				t.equal("objects that another session finds", len(t.all(keep, attr(pkcs11.CKA_LABEL, label))), 2)
				t.ok(s.Close())
				t.want(keep.GetAttributeValue(t.ctx, passing, classOnly()), pkcs11.CKR_OBJECT_HANDLE_INVALID)
				t.equal("objects that are left", fmt.Sprint(t.all(keep, attr(pkcs11.CKA_LABEL, label))), fmt.Sprint([]pkcs11.ObjectHandle{lasting}))
			}},
		Case{ID: "SES-08", Name: "a read-only session makes session objects", Clause: "v2.40 §5.6, §4.4",
			Ancestors: []string{"client 18"}, needs: needs(wantsCreate), run: func(t *T) {
				keep, ro := t.session(), t.open(roSession)
				h := t.create(ro, certTemplate(t.label("cert"), ecCert).Set(attr(pkcs11.CKA_TOKEN, false)))
				t.equal("the certificate", t.bytes(keep, h, pkcs11.CKA_VALUE), ecCert)
				t.ok(ro.DestroyObject(t.ctx, h))
				t.want(keep.GetAttributeValue(t.ctx, h, classOnly()), pkcs11.CKR_OBJECT_HANDLE_INVALID)
			}},
		Case{ID: "SES-09", Name: "a handle from one session is good in another", Clause: "v2.40 §5.7; FIT's multi-thread tests",
			Ancestors: []string{"client 18"}, needs: needs(ecSign), run: func(t *T) {
				a, b := t.session(), t.open(roSession)
				keys := t.sharedEC()
				t.verifyHost(keys.ec, ecHash1, t.sign(a, mech(pkcs11.CKM_ECDSA), keys.priv, ecHash1))
				t.ok(a.Close())
				t.verifyHost(keys.ec, ecHash1, t.sign(b, mech(pkcs11.CKM_ECDSA), keys.priv, ecHash1))
			}},
		Case{ID: "SES-10", Name: "SessionCancel ends what it names and nothing else", Clause: "v3.0 §5.6.7, C_SessionCancel",
			Ancestors: []string{"client 33"}, needs: needs(sha256Row, wantsCancel), run: func(t *T) {
				s := t.session()
				t.ok(s.SessionCancel(t.ctx, pkcs11.CKF_DIGEST|pkcs11.CKF_SIGN|pkcs11.CKF_FIND_OBJECTS))
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				t.ok(s.DigestUpdate(t.ctx, shaMessage))
				t.ok(s.FindObjectsInit(t.ctx, nil))
				t.ok(s.SessionCancel(t.ctx, pkcs11.CKF_FIND_OBJECTS))
				_, err := s.FindObjects(t.ctx, make([]pkcs11.ObjectHandle, 1))
				t.want(err, notStarted)
				digest := make([]byte, 32)
				_, err = s.DigestFinal(t.ctx, digest)
				t.ok(err)
				t.equal("the digest", digest, shaDigest)
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				t.ok(s.SessionCancel(t.ctx, pkcs11.CKF_DIGEST))
				t.want(s.DigestUpdate(t.ctx, nil), notStarted)
				t.ok(s.DigestInit(t.ctx, sha256Mech))
			}},
		Case{ID: "SES-11", Name: "a session closes in the middle of operations", Clause: "v2.40 §5.6, C_CloseSession",
			Ancestors: []string{"R-20"}, needs: needs(sha256Row), run: func(t *T) {
				keep := t.session()
				for range 100 {
					s := t.open(roSession)
					t.ok(s.DigestInit(t.ctx, sha256Mech))
					t.ok(s.FindObjectsInit(t.ctx, nil))
					t.ok(s.Close())
				}
				info, err := t.module().TokenInfo(t.ctx, t.e.slot)
				t.ok(err)
				t.check(info.SessionCount == 1 || info.SessionCount == pkcs11.Unavailable, "SessionCount is %d with one open", info.SessionCount)
				t.state(keep)
			}},
	)
}

func sessionStates(t *T) {
	rw, ro := t.open(rwSession), t.open(roSession)
	want := func(when string, wantRW, wantRO pkcs11.SessionState) {
		t.step(when, func() {
			for _, c := range []struct {
				s     *session
				flags pkcs11.SessionFlags
				state pkcs11.SessionState
			}{{rw, rwSession, wantRW}, {ro, roSession, wantRO}} {
				info, err := c.s.Info(t.ctx)
				t.ok(err)
				t.equal("the slot", info.Slot, t.e.slot)
				t.equal("the flags", info.Flags, c.flags)
				t.equal("the state", info.State, c.state)
			}
		})
	}
	if !t.e.can.login {
		info, err := rw.Info(t.ctx)
		t.ok(err)
		t.equal("the flags", info.Flags, rwSession)
		return
	}
	want("before the login", pkcs11.CKS_RW_PUBLIC_SESSION, pkcs11.CKS_RO_PUBLIC_SESSION)
	t.ok(rw.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN))
	want("logged in", pkcs11.CKS_RW_USER_FUNCTIONS, pkcs11.CKS_RO_USER_FUNCTIONS)
	t.ok(ro.Logout(t.ctx))
	want("logged out", pkcs11.CKS_RW_PUBLIC_SESSION, pkcs11.CKS_RO_PUBLIC_SESSION)
}

// exhaustSessions opens sessions until there are no more, or 300.
func exhaustSessions(t *T) {
	const enough = 300
	info, err := t.module().TokenInfo(t.ctx, t.e.slot)
	t.ok(err)
	limit := info.MaxSessionCount
	t.check(limit == pkcs11.EffectivelyInfinite || limit >= 3, "MaxSessionCount is %d; one and a thread each are 3", limit)
	var open []*session
	for len(open) < enough {
		s, err := t.module().OpenSession(t.ctx, t.e.slot, roSession)
		if errors.Is(err, pkcs11.CKR_SESSION_COUNT) {
			t.check(len(open) >= 3, "only %d sessions opened", len(open))
			break
		}
		t.ok(err)
		open = append(open, s.(*session))
	}
	if limit != pkcs11.EffectivelyInfinite && limit != pkcs11.Unavailable && limit < enough {
		t.equal("the number of sessions that opened", uint64(len(open)), limit)
	}
	info, err = t.module().TokenInfo(t.ctx, t.e.slot)
	t.ok(err)
	if info.SessionCount != pkcs11.Unavailable {
		t.equal("SessionCount", info.SessionCount, uint64(len(open)))
	}
	t.ok(open[0].Close())
	t.open(roSession)
	t.state(open[1])
}
