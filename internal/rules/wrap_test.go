package rules_test

import (
	"slices"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func generated(t *testing.T, attrs ...pkcs11.Attribute) pkcs11.Template {
	t.Helper()
	o, err := rules.Generate(&pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, with(pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 16)}, attrs...))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func created(t *testing.T, template pkcs11.Template, attrs ...pkcs11.Attribute) pkcs11.Template {
	t.Helper()
	o, err := rules.SO.Create(with(template, attrs...))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestWrap(t *testing.T) {
	yes := func(types ...pkcs11.AttributeType) (list []pkcs11.Attribute) {
		for _, typ := range types {
			list = append(list, attr(typ, true))
		}
		return list
	}
	wrapper := generated(t, yes(pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP)...)
	extractable := generated(t, yes(pkcs11.CKA_EXTRACTABLE)...)
	plain := generated(t, attr(pkcs11.CKA_EXTRACTABLE, true), attr(pkcs11.CKA_SENSITIVE, false))
	imported := created(t, aesKey(), yes(pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP)...)
	trusted := created(t, aesKey(), yes(pkcs11.CKA_WRAP, pkcs11.CKA_TRUSTED)...)
	rsaWrap := created(t, rsaPublic(), yes(pkcs11.CKA_WRAP)...)
	for _, c := range []struct {
		name         string
		wrapper, key pkcs11.Template
		want         pkcs11.Error
	}{
		{"sensitive key under one for wrapping", wrapper, extractable, 0},
		{"private key under one for wrapping", wrapper, created(t, ecPrivate(), yes(pkcs11.CKA_EXTRACTABLE)...), 0},
		{"key that is not extractable", wrapper, generated(t), pkcs11.CKR_KEY_UNEXTRACTABLE},
		{"key that is neither sensitive nor extractable", wrapper, generated(t, attr(pkcs11.CKA_SENSITIVE, false)), pkcs11.CKR_KEY_UNEXTRACTABLE},
		{"private key that is not extractable", wrapper, created(t, ecPrivate()), pkcs11.CKR_KEY_UNEXTRACTABLE},
		{"certificate", wrapper, created(t, certificate()), pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"public key", wrapper, created(t, ecPublic()), pkcs11.CKR_KEY_NOT_WRAPPABLE},

		{"sensitive key under one that decrypts", generated(t, yes(pkcs11.CKA_WRAP, pkcs11.CKA_DECRYPT)...), extractable, pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"sensitive key under one that encrypts", generated(t, yes(pkcs11.CKA_WRAP, pkcs11.CKA_ENCRYPT)...), extractable, pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"sensitive key under a readable one", generated(t, attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_SENSITIVE, false)), extractable, pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"sensitive key under an extractable one", generated(t, yes(pkcs11.CKA_WRAP, pkcs11.CKA_EXTRACTABLE)...), extractable, pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"sensitive key under one that was imported", imported, extractable, pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"sensitive key under somebody's public key", rsaWrap, extractable, pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"sensitive key under a trusted one", trusted, extractable, 0},
		{"sensitive key under a trusted public key", with(rsaWrap, attr(pkcs11.CKA_TRUSTED, true)), extractable, 0},
		{"sensitive key under a trusted one that decrypts", with(trusted, attr(pkcs11.CKA_DECRYPT, true)), extractable, pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"key that says nothing about being sensitive", imported, without(extractable, pkcs11.CKA_SENSITIVE), pkcs11.CKR_KEY_NOT_WRAPPABLE},

		{"readable key under any", imported, plain, 0},
		{"readable key under somebody's public key", rsaWrap, plain, 0},
		{"readable key under one that decrypts", generated(t, yes(pkcs11.CKA_WRAP, pkcs11.CKA_DECRYPT)...), plain, 0},

		{"only with a trusted key", wrapper, with(extractable, attr(pkcs11.CKA_WRAP_WITH_TRUSTED, true)), pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{"only with a trusted key, and it is", trusted, with(extractable, attr(pkcs11.CKA_WRAP_WITH_TRUSTED, true)), 0},
		{"the wrap template matches", with(wrapper, attr(pkcs11.CKA_WRAP_TEMPLATE, pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)})), extractable, 0},
		{"the wrap template does not match", with(wrapper, attr(pkcs11.CKA_WRAP_TEMPLATE, pkcs11.Template{attr(pkcs11.CKA_LABEL, "b")})), extractable, pkcs11.CKR_KEY_HANDLE_INVALID},
		{"the wrap template names what is not there", with(wrapper, attr(pkcs11.CKA_WRAP_TEMPLATE, pkcs11.Template{attr(pkcs11.CKA_SUBJECT, "")})), extractable, pkcs11.CKR_KEY_HANDLE_INVALID},
	} {
		t.Run(c.name, func(t *testing.T) { wantCode(t, rules.Wrap(c.wrapper, c.key), c.want) })
	}
}

func TestUnwrap(t *testing.T) {
	wrapper := generated(t, attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true))
	aes := pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)}
	weak := with(aes, attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true))
	demands := with(wrapper, attr(pkcs11.CKA_UNWRAP_TEMPLATE, pkcs11.Template{attr(pkcs11.CKA_EXTRACTABLE, false), attr(pkcs11.CKA_LABEL, "x")}))
	for _, c := range []struct {
		name      string
		unwrapper pkcs11.Template
		t         pkcs11.Template
		want      pkcs11.Error
	}{
		{"class and type", wrapper, aes, 0},
		{"nothing", wrapper, nil, pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{"no key type", wrapper, aes[:1], pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{"a certificate", wrapper, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), attr(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509)}, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"a public key", wrapper, with(aes, attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA)), pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"with a value", wrapper, with(aes, attr(pkcs11.CKA_VALUE, "0123456789abcdef")), pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"always sensitive", wrapper, with(aes, attr(pkcs11.CKA_ALWAYS_SENSITIVE, true)), pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"trusted", wrapper, with(aes, attr(pkcs11.CKA_TRUSTED, true)), pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"readable", wrapper, weak, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"readable, under one that decrypts anyway", generated(t, attr(pkcs11.CKA_UNWRAP, true), attr(pkcs11.CKA_DECRYPT, true)), weak, 0},
		{"readable, under one that is readable itself", readableKey, weak, 0},
		{"extractable, as it was", wrapper, with(aes, attr(pkcs11.CKA_EXTRACTABLE, true)), 0},
		{"as the unwrapping key demands", demands, with(aes, attr(pkcs11.CKA_LABEL, "x")), 0},
		{"not as the unwrapping key demands", demands, with(aes, attr(pkcs11.CKA_EXTRACTABLE, true)), pkcs11.CKR_TEMPLATE_INCONSISTENT},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := rules.Unwrap(c.unwrapper, c.t)
			wantCode(t, err, c.want)
			if err == nil {
				wantValues(t, u, c.t...)
				wantValues(t, u, attr(pkcs11.CKA_LOCAL, false), attr(pkcs11.CKA_ALWAYS_SENSITIVE, false), attr(pkcs11.CKA_NEVER_EXTRACTABLE, false),
					attr(pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.Unavailable))
			}
		})
	}
	u, err := rules.Unwrap(demands, aes)
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, u, attr(pkcs11.CKA_LABEL, "x"), attr(pkcs11.CKA_EXTRACTABLE, false))
}

func TestMaterial(t *testing.T) {
	wrapper := generated(t, attr(pkcs11.CKA_UNWRAP, true))
	unwrap := func(class pkcs11.ObjectClass, k pkcs11.KeyType, attrs ...pkcs11.Attribute) pkcs11.Template {
		u, err := rules.Unwrap(wrapper, with(pkcs11.Template{attr(pkcs11.CKA_CLASS, class), attr(pkcs11.CKA_KEY_TYPE, k)}, attrs...))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	value := func(n int) pkcs11.Template { return pkcs11.Template{attr(pkcs11.CKA_VALUE, make([]byte, n))} }
	parts := func(full pkcs11.Template) pkcs11.Template {
		return without(full, pkcs11.CKA_CLASS, pkcs11.CKA_LABEL, pkcs11.CKA_TOKEN, pkcs11.CKA_SIGN)
	}
	said := map[string]string{} // by key type
	for _, c := range []struct {
		name        string
		t, material pkcs11.Template
		want        pkcs11.Error
	}{
		{"AES", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES), value(16), 0},
		{"AES of 15 bytes", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES), value(15), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"AES of nothing", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES), value(0), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"no value", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES), nil, pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"the length that was asserted", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES, attr(pkcs11.CKA_VALUE_LEN, 16)), value(16), 0},
		{"another length: no truncation", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_GENERIC_SECRET, attr(pkcs11.CKA_VALUE_LEN, 1)), value(16), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"the check value that was asserted", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES, attr(pkcs11.CKA_CHECK_VALUE, []byte{0x66, 0xe9, 0x4b})), value(16), 0},
		{"another check value", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES, attr(pkcs11.CKA_CHECK_VALUE, []byte{1, 2, 3})), value(16), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"EC", unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC), parts(ecPrivate()), 0},
		{"RSA", unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_RSA), parts(rsaPrivate()), 0},
		{"EC for RSA", unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_RSA), parts(ecPrivate()), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"EC for RSA, without its type", unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_RSA), without(parts(ecPrivate()), pkcs11.CKA_KEY_TYPE), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"RSA without exponent", unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_RSA), without(parts(rsaPrivate()), pkcs11.CKA_PRIVATE_EXPONENT), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"EC on secp256k1", unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC), with(parts(ecPrivate()), attr(pkcs11.CKA_EC_PARAMS, []byte{6, 5, 0x2b, 0x81, 4, 0, 10})), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"material that makes it readable", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES), with(value(16), attr(pkcs11.CKA_SENSITIVE, false)), pkcs11.CKR_WRAPPED_KEY_INVALID},
		{"material that makes it local", unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES), with(value(16), attr(pkcs11.CKA_LOCAL, true)), pkcs11.CKR_WRAPPED_KEY_INVALID},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := rules.Material(c.t, c.material)
			wantCode(t, err, c.want)
			if err != nil {
				if said[err.Error()[:3]] == "" {
					said[err.Error()[:3]] = err.Error()
				}
				if said[err.Error()[:3]] != err.Error() {
					t.Errorf("errors differ: %q and %q", err, said[err.Error()[:3]])
				}
			}
			if err == nil {
				wantValues(t, got, c.material...)
				wantValues(t, got, c.t...)
				complete(t, got)
			}
		})
	}
}

func TestDerive(t *testing.T) {
	ecdh := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE}
	base := with(created(t, ecPrivate()), attr(pkcs11.CKA_ALWAYS_SENSITIVE, true), attr(pkcs11.CKA_NEVER_EXTRACTABLE, true), attr(pkcs11.CKA_LOCAL, true))
	readable := pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true)}

	t.Run("defaults", func(t *testing.T) {
		o, err := rules.Derive(ecdh, base, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, o, attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false),
			attr(pkcs11.CKA_LOCAL, false), attr(pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.Unavailable))
		if o.Has(pkcs11.CKA_VALUE_LEN) || o.Has(pkcs11.CKA_VALUE) {
			t.Error("a length or a value is there")
		}
	})
	t.Run("pkcs11-tool", func(t *testing.T) {
		template := pkcs11.Template{attr(pkcs11.CKA_TOKEN, false), attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET),
			attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true), attr(pkcs11.CKA_ENCRYPT, true), attr(pkcs11.CKA_DECRYPT, true), attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true), attr(pkcs11.CKA_VALUE_LEN, 32)}
		o, err := rules.Derive(ecdh, base, template)
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, o, template...)
		if code := rules.Readable(with(o, attr(pkcs11.CKA_VALUE, "x")), pkcs11.CKA_VALUE); code != 0 {
			t.Errorf("the result cannot be read: %v", code)
		}
	})
	t.Run("inheritance", func(t *testing.T) {
		for _, always := range []bool{false, true} {
			for _, never := range []bool{false, true} {
				for _, sensitive := range []bool{false, true} {
					for _, extractable := range []bool{false, true} {
						b := with(base, attr(pkcs11.CKA_ALWAYS_SENSITIVE, always), attr(pkcs11.CKA_NEVER_EXTRACTABLE, never))
						o, err := rules.Derive(ecdh, b, pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, sensitive), attr(pkcs11.CKA_EXTRACTABLE, extractable)})
						if err != nil {
							t.Fatal(err)
						}
						wantValues(t, o, attr(pkcs11.CKA_ALWAYS_SENSITIVE, always && sensitive), attr(pkcs11.CKA_NEVER_EXTRACTABLE, never && !extractable))
					}
				}
			}
		}
	})
	for _, c := range []struct {
		name    string
		m       *pkcs11.Mechanism
		base, t pkcs11.Template
		want    pkcs11.Error
	}{
		{"readable by ECDH", ecdh, base, readable, 0},
		{"readable by HKDF", &pkcs11.Mechanism{Type: pkcs11.CKM_HKDF_DERIVE}, generated(t), readable, 0},
		{"readable by another", &pkcs11.Mechanism{Type: pkcs11.CKM_XOR_BASE_AND_DATA}, generated(t), readable, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"extractable by another", &pkcs11.Mechanism{Type: pkcs11.CKM_EXTRACT_KEY_FROM_KEY}, generated(t), readable[1:], pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"readable of a readable one by another", &pkcs11.Mechanism{Type: pkcs11.CKM_XOR_BASE_AND_DATA}, readableKey, readable, 0},
		{"a private key", ecdh, base, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC)}, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"data", ecdh, base, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA)}, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"with a value", ecdh, base, pkcs11.Template{attr(pkcs11.CKA_VALUE, "x")}, pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"AES of 20 bytes", ecdh, base, pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES), attr(pkcs11.CKA_VALUE_LEN, 20)}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"a check value", ecdh, base, pkcs11.Template{attr(pkcs11.CKA_CHECK_VALUE, []byte{1, 2, 3})}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"no mechanism", nil, base, nil, pkcs11.CKR_ARGUMENTS_BAD},
		{"as the base key demands", ecdh, with(base, attr(pkcs11.CKA_DERIVE_TEMPLATE, pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, true)})), nil, 0},
		{"not as the base key demands", ecdh, with(base, attr(pkcs11.CKA_DERIVE_TEMPLATE, pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, true)})), readable, pkcs11.CKR_TEMPLATE_INCONSISTENT},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := rules.Derive(c.m, c.base, c.t)
			wantCode(t, err, c.want)
			if err == nil {
				wantValues(t, o, c.t...)
			}
		})
	}
}

func TestSetAndCopy(t *testing.T) {
	priv := created(t, ecPrivate())
	for _, c := range []struct {
		name        string
		old, change pkcs11.Template
		set, copy   pkcs11.Error
	}{
		{"nothing", priv, nil, 0, 0},
		{"ID and label, as NSS", priv, pkcs11.Template{attr(pkcs11.CKA_ID, "i"), attr(pkcs11.CKA_LABEL, "l")}, 0, 0},
		{"token and ID, as Java", with(priv, attr(pkcs11.CKA_TOKEN, false)), pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_ID, "i")}, pkcs11.CKR_ATTRIBUTE_READ_ONLY, 0},
		{"not modifiable", with(priv, attr(pkcs11.CKA_MODIFIABLE, false)), pkcs11.Template{attr(pkcs11.CKA_ID, "i")}, pkcs11.CKR_ACTION_PROHIBITED, 0},
		{"not copyable", with(priv, attr(pkcs11.CKA_COPYABLE, false)), pkcs11.Template{attr(pkcs11.CKA_ID, "i")}, 0, pkcs11.CKR_ACTION_PROHIBITED},
		{"a good change and a bad one", priv, pkcs11.Template{attr(pkcs11.CKA_ID, "i"), attr(pkcs11.CKA_SENSITIVE, false)}, pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"twice differently", priv, pkcs11.Template{attr(pkcs11.CKA_ID, "i"), attr(pkcs11.CKA_ID, "j")}, pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"wrong kind", priv, pkcs11.Template{attr(pkcs11.CKA_ID, 5)}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"too long", priv, pkcs11.Template{attr(pkcs11.CKA_LABEL, make([]byte, 2000))}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"private again", priv, pkcs11.Template{attr(pkcs11.CKA_PRIVATE, false)}, pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"of a class that is not known", pkcs11.Template{attr(pkcs11.CKA_CLASS, uint64(0xce534351))}, pkcs11.Template{attr(pkcs11.CKA_LABEL, "x")}, 0, 0},
		{"an attribute of a class that is not known", pkcs11.Template{attr(pkcs11.CKA_CLASS, uint64(0xce534351))}, pkcs11.Template{attr(pkcs11.CKA_VALUE, "x")}, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID},
		{"flags that a driver did not state", without(priv, pkcs11.CKA_MODIFIABLE, pkcs11.CKA_COPYABLE, pkcs11.CKA_SENSITIVE), pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, false)}, pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"decrypting given up by a wrapping key", generated(t, attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_DECRYPT, true)), pkcs11.Template{attr(pkcs11.CKA_DECRYPT, false)}, pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"decrypting given up with wrapping", generated(t, attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_DECRYPT, true)), pkcs11.Template{attr(pkcs11.CKA_DECRYPT, false), attr(pkcs11.CKA_WRAP, false)}, 0, 0},
		{"wrapping given up", generated(t, attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_DECRYPT, true)), pkcs11.Template{attr(pkcs11.CKA_WRAP, false)}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.old.Clone()
			_, err := rules.Set(c.old, c.change)
			wantCode(t, err, c.set)
			copied, err := rules.Copy(c.old, c.change)
			wantCode(t, err, c.copy)
			if err == nil {
				wantValues(t, copied, c.change...)
			}
			if !before.Equal(c.old) {
				t.Error("the object was changed")
			}
		})
	}
}

// What is fetched from the driver for one object is shared: see
// driver.Object.Attributes.
func TestCopySharesNoBackingArray(t *testing.T) {
	old := slices.Grow(created(t, ecPublic()), 8)
	copied, err := rules.Copy(old, pkcs11.Template{attr(pkcs11.CKA_LABEL, "new")})
	if err != nil {
		t.Fatal(err)
	}
	copied[0].Value = uint64(99)
	if old[0].Value == uint64(99) || old.Text(pkcs11.CKA_LABEL) == "new" {
		t.Error("the object was changed")
	}
}

func TestTrusted(t *testing.T) {
	cert := created(t, certificate(), attr(pkcs11.CKA_TRUSTED, true))
	id := pkcs11.Template{attr(pkcs11.CKA_ID, "i")}
	_, err := rules.Set(cert, id)
	wantCode(t, err, pkcs11.CKR_ACTION_PROHIBITED)
	if changed, err := rules.SO.Set(cert, id); err != nil || !changed.Equal(id) {
		t.Errorf("the SO changes %v, %v", changed, err)
	}
	_, err = rules.Set(created(t, ecPublic(), attr(pkcs11.CKA_TRUSTED, true)), pkcs11.Template{attr(pkcs11.CKA_TRUSTED, false)})
	wantCode(t, err, pkcs11.CKR_ATTRIBUTE_READ_ONLY)
	for _, o := range []pkcs11.Template{cert, created(t, ecPublic(), attr(pkcs11.CKA_TRUSTED, true))} {
		copied, err := rules.Copy(o, id)
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, copied, attr(pkcs11.CKA_TRUSTED, false))
	}
}

func TestDestroy(t *testing.T) {
	wantCode(t, rules.Destroy(created(t, ecPublic())), 0)
	wantCode(t, rules.Destroy(created(t, ecPublic(), attr(pkcs11.CKA_DESTROYABLE, false))), pkcs11.CKR_ACTION_PROHIBITED)
	wantCode(t, rules.Destroy(pkcs11.Template{attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY))}), 0)
	wantCode(t, rules.Destroy(pkcs11.Template{attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PROFILE))}), pkcs11.CKR_ACTION_PROHIBITED)
}
