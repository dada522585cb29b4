package cryptoki_test

import (
	"context"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/stretchr/testify/require"
)

func application(t testing.TB, m cryptoki.Module) cryptoki.Module {
	t.Helper()
	app, err := cryptoki.NewApplication(m, nil)
	require.NoError(t, err)
	t.Cleanup(func() { app.Close() })
	return app
}

func session(t testing.TB, m cryptoki.Module) cryptoki.Session {
	t.Helper()
	s, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	require.NoError(t, err)
	return s
}

func search(t testing.TB, s cryptoki.Session, template pkcs11.Template) []pkcs11.ObjectHandle {
	t.Helper()
	require.NoError(t, s.FindObjectsInit(t.Context(), template))
	found := make([]pkcs11.ObjectHandle, 100)
	n, err := s.FindObjects(t.Context(), found)
	require.NoError(t, err)
	require.NoError(t, s.FindObjectsFinal(t.Context()))
	return found[:n]
}

var named = pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "k")}

func pairTemplates() (pub, priv pkcs11.Template) {
	pub = pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, "k"),
		pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}), pkcs11.Attr(pkcs11.CKA_VERIFY, true)}
	priv = pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, "k"), pkcs11.Attr(pkcs11.CKA_SIGN, true)}
	return pub, priv
}

// Each application has a login of its own, and sees the others' objects.
func TestApplications(t *testing.T) {
	ctx := t.Context()
	m := newModule(t, &pal.Mem{}, false)
	setup := tokenOf(t, m, nil)
	require.NoError(t, setup.Initialize(ctx, cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}))
	require.NoError(t, setup.Close())

	a, b := application(t, m), application(t, m)
	sa, sb := session(t, a), session(t, b)
	require.NoError(t, sa.Login(ctx, pkcs11.CKU_USER, userPIN))
	pub, priv := pairTemplates()
	_, key, err := sa.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, pub, priv)
	require.NoError(t, err)
	require.Len(t, search(t, sa, named), 2)

	info, err := sb.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, pkcs11.CKS_RW_PUBLIC_SESSION, info.State, "another application's login")
	require.Len(t, search(t, sb, named), 1, "only the public key")
	ecdsa := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	for h := range pkcs11.ObjectHandle(100) {
		require.Error(t, sb.SignInit(ctx, ecdsa, h), "handle %d: a private key without a login", h)
	}
	require.ErrorIs(t, sb.Login(ctx, pkcs11.CKU_USER, []byte("00000000")), pkcs11.CKR_PIN_INCORRECT)
	require.ErrorIs(t, sb.Login(ctx, pkcs11.CKU_SO, soPIN), pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
	require.NoError(t, sb.Login(ctx, pkcs11.CKU_USER, userPIN))
	found := search(t, sb, named)
	require.Len(t, found, 2)

	// One logs out, the other goes on.
	require.NoError(t, sa.Logout(ctx))
	require.ErrorIs(t, sa.SignInit(ctx, ecdsa, key), pkcs11.CKR_USER_NOT_LOGGED_IN)
	require.Len(t, search(t, sa, named), 1)
	digest, sig := make([]byte, 32), make([]byte, 64)
	require.NoError(t, sb.SignInit(ctx, ecdsa, found[1]))
	_, err = sb.Sign(ctx, digest, sig)
	require.NoError(t, err)

	// What one changes or destroys the other sees at its next search.
	require.NoError(t, sb.SetAttributeValue(ctx, found[0], pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "renamed")}))
	require.Empty(t, search(t, sa, named))
	require.NoError(t, sb.DestroyObject(ctx, found[0]))
	require.Empty(t, search(t, sa, nil))

	// Session objects are one's own.
	_, err = sb.CreateObject(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_LABEL, "mine")})
	require.NoError(t, err)
	require.Empty(t, search(t, sa, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "mine")}))

	require.ErrorIs(t, a.InitToken(ctx, 1, soPIN, "new"), pkcs11.CKR_SESSION_EXISTS)
	require.NoError(t, b.Close())
	require.NoError(t, sa.Close())
	require.NoError(t, a.InitToken(ctx, 1, soPIN, "new"))
	sa = session(t, a)
	require.Empty(t, search(t, sa, nil))

	// The last of them gone, the SO can log in, and closing the module ends all.
	require.NoError(t, sa.Login(ctx, pkcs11.CKU_SO, soPIN))
	require.NoError(t, m.Close())
	require.ErrorIs(t, sa.Logout(ctx), pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	_, err = cryptoki.NewApplication(m, nil)
	require.ErrorIs(t, err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	_, err = cryptoki.NewApplication(foreign{m}, nil)
	require.ErrorIs(t, err, pkcs11.CKR_ARGUMENTS_BAD)
}

type foreign struct{ cryptoki.Module }

// Applications that log in and out at the same time do not log each other out.
func TestApplicationsLogInAndOut(t *testing.T) {
	ctx := t.Context()
	m := newModule(t, &pal.Mem{}, false)
	setup := tokenOf(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	require.NoError(t, setup.Initialize(ctx, cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}))
	generate(t, setup, "k", cryptoki.P256)
	require.NoError(t, setup.Close())

	var all sync.WaitGroup
	for range 4 {
		app := application(t, m)
		all.Go(func() {
			for range 25 {
				s, err := app.OpenSession(ctx, 1, pkcs11.CKF_SERIAL_SESSION)
				if err != nil {
					t.Error(err)
					return
				}
				if err := signOnce(ctx, s); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func signOnce(ctx context.Context, s cryptoki.Session) error {
	if err := s.Login(ctx, pkcs11.CKU_USER, userPIN); err != nil {
		return err
	}
	if err := s.FindObjectsInit(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "k"), pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}); err != nil {
		return err
	}
	found := make([]pkcs11.ObjectHandle, 1)
	if _, err := s.FindObjects(ctx, found); err != nil {
		return err
	}
	if err := s.SignInit(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, found[0]); err != nil {
		return err
	}
	_, err := s.Sign(ctx, make([]byte, 32), make([]byte, 64))
	return err
}

// An application is a module as good as any, also while others use the token.
func TestApplicationConformance(t *testing.T) {
	store := &pal.Mem{}
	conformance.Run(t, conformance.Target{
		OpenModule: func(context.Context) (cryptoki.Module, error) {
			token, err := soft.New(store, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})
			if err != nil {
				return nil, err
			}
			m, err := cryptoki.NewModule(nil, driver.Token(token))
			if err != nil {
				return nil, err
			}
			app, err := cryptoki.NewApplication(m, nil)
			if err != nil {
				return nil, err
			}
			if _, err := cryptoki.NewApplication(m, nil); err != nil {
				return nil, err
			}
			return owner{app, m}, nil
		},
		Destructive: true,
	})
}

// An owner closes the module of an application with it.
type owner struct {
	cryptoki.Module
	m cryptoki.Module
}

func (o owner) Close() error {
	err := o.Module.Close()
	if err == nil {
		err = o.m.Close()
	}
	return err
}
