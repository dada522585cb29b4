package rpc_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/go-cryptoki/cryptoki/rpc"
	"github.com/stretchr/testify/require"
)

// given is a template that a call is given, and a copy of it.
type given struct{ template, before pkcs11.Template }

func give(attrs ...pkcs11.Attribute) *given {
	t := pkcs11.Template(attrs)
	before := slices.Clone(t)
	for i := range before {
		if b, ok := before[i].Value.([]byte); ok {
			before[i].Value = bytes.Clone(b)
		}
	}
	return &given{t, before}
}

// taken asserts that the call has not changed the template, and then overwrites it.
func (g *given) taken(t *testing.T) {
	t.Helper()
	require.Equal(t, g.before, g.template)
	for i := range g.template {
		if b, ok := g.template[i].Value.([]byte); ok {
			for k := range b {
				b[k] = 'X'
			}
		}
		g.template[i] = pkcs11.Attr(pkcs11.CKA_LABEL, "overwritten")
	}
}

// The templates of every call are the caller's: the token, in the process and
// behind a socket, neither changes them nor keeps parts of them.
func TestTemplatesAreTheCallers(t *testing.T) {
	path, _ := serve(t, softModule(t, &pal.Mem{}), nil)
	remote, err := rpc.Dial(t.Context(), path, nil)
	require.NoError(t, err)
	defer remote.Close()
	for name, m := range map[string]cryptoki.Module{"in the process": softModule(t, &pal.Mem{}), "behind a socket": remote} {
		t.Run(name, func(t *testing.T) { templates(t, m) })
	}
}

func templates(t *testing.T, m cryptoki.Module) {
	ctx := t.Context()
	s, err := m.OpenSession(ctx, 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	require.NoError(t, err)
	id := func(h pkcs11.ObjectHandle, want string) {
		t.Helper()
		got := pkcs11.Template{{Type: pkcs11.CKA_ID}}
		require.NoError(t, s.GetAttributeValue(ctx, h, got))
		require.Equal(t, want, string(got[0].Bytes()))
	}
	private, session := pkcs11.Attr(pkcs11.CKA_PRIVATE, false), pkcs11.Attr(pkcs11.CKA_TOKEN, false)
	named := func(id string, more ...pkcs11.Attribute) *given {
		return give(append(more, session, private, pkcs11.Attr(pkcs11.CKA_ID, []byte(id)))...)
	}

	g := named("create", pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.Attr(pkcs11.CKA_VALUE, bytes.Repeat([]byte{7}, 16)), pkcs11.Attr(pkcs11.CKA_ENCRYPT, true), pkcs11.Attr(pkcs11.CKA_SENSITIVE, false),
		pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true))
	created, err := s.CreateObject(ctx, g.template)
	require.NoError(t, err)
	g.taken(t)
	id(created, "create")
	value := pkcs11.Template{{Type: pkcs11.CKA_VALUE}}
	require.NoError(t, s.GetAttributeValue(ctx, created, value))
	require.Equal(t, bytes.Repeat([]byte{7}, 16), value[0].Bytes())

	g = give(pkcs11.Attr(pkcs11.CKA_ID, []byte("copy")))
	h, err := s.CopyObject(ctx, created, g.template)
	require.NoError(t, err)
	g.taken(t)
	id(h, "copy")

	g = give(pkcs11.Attr(pkcs11.CKA_ID, []byte("set")))
	require.NoError(t, s.SetAttributeValue(ctx, h, g.template))
	g.taken(t)
	id(h, "set")

	g = named("generate", pkcs11.Attr(pkcs11.CKA_VALUE_LEN, 32), pkcs11.Attr(pkcs11.CKA_WRAP, true), pkcs11.Attr(pkcs11.CKA_UNWRAP, true))
	key, err := s.GenerateKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, g.template)
	require.NoError(t, err)
	g.taken(t)
	id(key, "generate")

	g = named("public", pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}))
	g2 := named("private", pkcs11.Attr(pkcs11.CKA_DERIVE, true))
	pub, priv, err := s.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, g.template, g2.template)
	require.NoError(t, err)
	g.taken(t)
	g2.taken(t)
	id(pub, "public")
	id(priv, "private")

	wrapped := make([]byte, 100)
	n, err := s.WrapKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_WRAP}, key, created, wrapped)
	require.NoError(t, err)
	g = named("unwrap", pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES))
	h, err = s.UnwrapKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_WRAP}, key, wrapped[:n], g.template)
	require.NoError(t, err)
	g.taken(t)
	id(h, "unwrap")

	point := pkcs11.Template{{Type: pkcs11.CKA_EC_POINT}}
	require.NoError(t, s.GetAttributeValue(ctx, pub, point))
	g = named("derive", pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES), pkcs11.Attr(pkcs11.CKA_VALUE_LEN, 32))
	h, err = s.DeriveKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE, Params: &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: point[0].Bytes()}}, priv, g.template)
	require.NoError(t, err)
	g.taken(t)
	id(h, "derive")

	g = give(pkcs11.Attr(pkcs11.CKA_ID, []byte("private")))
	require.NoError(t, s.FindObjectsInit(ctx, g.template))
	g.taken(t)
	found := make([]pkcs11.ObjectHandle, 10)
	n, err = s.FindObjects(ctx, found)
	require.NoError(t, err)
	require.Equal(t, []pkcs11.ObjectHandle{priv}, found[:n])
	require.NoError(t, s.FindObjectsFinal(ctx))
}
