package rules_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var secretTypes = []pkcs11.AttributeType{
	pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
	pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT,
}

// Every secret component of any key type is refused for every private and
// secret key, and shown of none that is sensitive or not extractable.
func TestSecretsAreNotReadable(t *testing.T) {
	for _, s := range subjects() {
		if s.class == "profile" {
			continue
		}
		for _, sensitive := range []bool{false, true} {
			for _, extractable := range []bool{false, true} {
				o := s.object(t)
				secret := s.class == "private" || s.class == "secret"
				if secret {
					o = with(o, attr(pkcs11.CKA_SENSITIVE, sensitive), attr(pkcs11.CKA_EXTRACTABLE, extractable))
				}
				class, k := pkcs11.ObjectClass(o.Uint(pkcs11.CKA_CLASS)), pkcs11.KeyType(o.Uint(pkcs11.CKA_KEY_TYPE))
				for _, typ := range allTypes() {
					isSecret := secret && strings.Contains(fmt.Sprint(secretTypes), typ.String()+" ") || secret && typ == pkcs11.CKA_COEFFICIENT
					if got := rules.Sensitive(class, k, typ); got != isSecret {
						t.Errorf("%s %s: Sensitive(%v) is %v", s.keyType, s.class, typ, got)
					}
					want := pkcs11.Error(0)
					switch {
					case isSecret && (sensitive || !extractable):
						want = pkcs11.CKR_ATTRIBUTE_SENSITIVE
					case !rules.Known(class, k, typ):
						want = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
					}
					if got := rules.Readable(o, typ); got != want {
						t.Errorf("%s %s, sensitive %v, extractable %v: reading %v is %v, want %v", s.keyType, s.class, sensitive, extractable, typ, got, want)
					}
				}
			}
		}
	}
}

// What a driver states of a key in a chip, and forgets to.
func TestReadableFailsClosed(t *testing.T) {
	for _, o := range []pkcs11.Template{
		{attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY))},
		{attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)), attr(pkcs11.CKA_EXTRACTABLE, true)},
		{attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)), attr(pkcs11.CKA_KEY_TYPE, uint64(0x80000001)), attr(pkcs11.CKA_SENSITIVE, false)},
		{attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_SECRET_KEY)), attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_DES3))},
	} {
		for _, typ := range secretTypes {
			if got := rules.Readable(o, typ); got != pkcs11.CKR_ATTRIBUTE_SENSITIVE {
				t.Errorf("%v of %v: %v", typ, o, got)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	public := without(ecPublic(), pkcs11.CKA_LABEL, pkcs11.CKA_TOKEN, pkcs11.CKA_VERIFY)
	id := keys.DefaultID(&testEC.PublicKey)
	canonical := func(t pkcs11.Template) pkcs11.Template {
		q, err := rules.Query(t)
		if err != nil {
			panic(err)
		}
		return q
	}
	for _, c := range []struct {
		name string
		t    pkcs11.Template
		want pkcs11.Template
	}{
		{"public key of a chip", canonical(public), pkcs11.Template{
			attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, false), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_ID, id),
			attr(pkcs11.CKA_PUBLIC_KEY_INFO, publicInfo(ecPublic())), attr(pkcs11.CKA_COPYABLE, true), attr(pkcs11.CKA_LABEL, ""),
		}},
		{"private key of a chip", canonical(pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_LOCAL, true), attr(pkcs11.CKA_EC_PARAMS, p256), attr(pkcs11.CKA_EC_POINT, public.Bytes(pkcs11.CKA_EC_POINT))}), pkcs11.Template{
			attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false),
			attr(pkcs11.CKA_LOCAL, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_DERIVE, false), attr(pkcs11.CKA_COPYABLE, false), attr(pkcs11.CKA_ID, id),
			attr(pkcs11.CKA_PUBLIC_KEY_INFO, publicInfo(ecPublic())), attr(pkcs11.CKA_ALWAYS_SENSITIVE, false),
		}},
		{"private key that says nothing of its key", canonical(pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA), attr(pkcs11.CKA_DECRYPT, true)}), pkcs11.Template{
			attr(pkcs11.CKA_DECRYPT, true), attr(pkcs11.CKA_SIGN, false), attr(pkcs11.CKA_SENSITIVE, true),
		}},
		{"certificate of a chip", canonical(pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), attr(pkcs11.CKA_VALUE, testECCert)}), pkcs11.Template{
			attr(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509), attr(pkcs11.CKA_ID, id), attr(pkcs11.CKA_CHECK_VALUE, sha1Start(testECCert)), attr(pkcs11.CKA_TOKEN, true),
			attr(pkcs11.CKA_SERIAL_NUMBER, []byte{2, 9, 0, 0xea, 0x40, 0x36, 0xb6, 0x35, 0xe6, 0x0e, 0x85}),
		}},
		{"certificate that is none", canonical(pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), attr(pkcs11.CKA_VALUE, "x")}), pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_VALUE, "x")}},
		{"key of a type not known", canonical(pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_DES3)}), pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_ENCRYPT, false)}},
		{"vendor's own attribute", canonical(pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), attr(0x80000042, "x")}), pkcs11.Template{attr(0x80000042, "x"), attr(pkcs11.CKA_TOKEN, true)}},
		{"profile", canonical(pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PROFILE), attr(pkcs11.CKA_PROFILE_ID, pkcs11.CKP_BASELINE_PROVIDER)}), pkcs11.Template{attr(pkcs11.CKA_MODIFIABLE, false), attr(pkcs11.CKA_PRIVATE, false)}},
		{"class not known", canonical(pkcs11.Template{attr(pkcs11.CKA_CLASS, uint32(0xce534353)), attr(pkcs11.CKA_VALUE, "x")}), pkcs11.Template{attr(pkcs11.CKA_VALUE, "x"), attr(pkcs11.CKA_TOKEN, true)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.t.Clone()
			got := rules.Complete(c.t)
			wantValues(t, got, c.want...)
			wantValues(t, got, c.t...)
			if !before.Equal(c.t) {
				t.Error("the driver's attributes were changed")
			}
			if again := rules.Complete(got); !again.Equal(got) || c.name != "certificate that is none" && &again[0] != &got[0] {
				t.Errorf("completed again, it has %d attributes instead of %d", len(again), len(got))
			}
		})
	}
}

// The templates that this package makes are complete, so that loading many
// objects costs nothing.
func TestCompleteLeavesCompleteAlone(t *testing.T) {
	for _, s := range subjects() {
		if s.class == "profile" {
			continue
		}
		o := s.object(t)
		shown := without(o, secretTypes...)
		if s.class == "data" || s.class == "certificate" {
			shown = o
		}
		got := rules.Complete(shown)
		if len(got) != len(shown) || &got[0] != &shown[0] {
			t.Errorf("%s %s: not returned itself: %v", s.keyType, s.class, without(got, typesOf(shown)...))
		}
		if n := testing.AllocsPerRun(10, func() { rules.Complete(shown) }); n != 0 {
			t.Errorf("%s %s: %v allocations", s.keyType, s.class, n)
		}
	}
}

func typesOf(t pkcs11.Template) (list []pkcs11.AttributeType) {
	for _, a := range t {
		list = append(list, a.Type)
	}
	return list
}

func TestReadingAllocatesNothing(t *testing.T) {
	o := created(t, ecPrivate())
	for name, f := range map[string]func(){
		"Sensitive": func() { rules.Sensitive(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC, pkcs11.CKA_VALUE) },
		"Known":     func() { rules.Known(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC, pkcs11.CKA_LABEL) },
		"Readable":  func() { rules.Readable(o, pkcs11.CKA_EC_PARAMS) },
		"refusal":   func() { rules.Readable(o, pkcs11.CKA_VALUE) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Bytes of a foreign form are refused for every attribute that takes a value.
func TestValuesOfTheWrongKind(t *testing.T) {
	wrong := map[pkcs11.Kind][]any{
		pkcs11.KindBytes:      {true, 1, nil, pkcs11.Template{}},
		pkcs11.KindBool:       {"\x01", []byte{1}, 1, nil},
		pkcs11.KindUint:       {"\x01", []byte{1, 0, 0, 0}, true, nil, -1},
		pkcs11.KindText:       {true, 1, nil},
		pkcs11.KindDate:       {"20300101", 20300101, nil},
		pkcs11.KindMechanisms: {[]byte{1}, []uint64{1}, nil},
		pkcs11.KindTemplate:   {[]byte{1}, "x", nil},
	}
	long := bytes.Repeat([]byte{1}, 20<<10)
	for _, s := range subjects() {
		if s.class == "profile" {
			continue
		}
		o := s.object(t)
		for _, typ := range allTypes() {
			for _, v := range wrong[typ.Kind()] {
				if _, err := rules.Create(with(s.create, attr(typ, v))); pkcs11.CodeOf(err) != pkcs11.CKR_ATTRIBUTE_VALUE_INVALID {
					t.Errorf("%s %s: %v of %T: %v", s.keyType, s.class, typ, v, err)
				}
				if _, err := rules.Set(o, pkcs11.Template{attr(typ, v)}); pkcs11.CodeOf(err) != pkcs11.CKR_ATTRIBUTE_VALUE_INVALID {
					t.Errorf("%s %s: setting %v to a %T: %v", s.keyType, s.class, typ, v, err)
				}
			}
			if k := typ.Kind(); k != pkcs11.KindBytes && k != pkcs11.KindText {
				continue
			}
			if _, err := rules.Create(with(s.create, attr(typ, long))); err == nil {
				t.Errorf("%s %s: %v of %d bytes is taken", s.keyType, s.class, typ, len(long))
			}
			if _, err := rules.Set(o, pkcs11.Template{attr(typ, long)}); err == nil {
				t.Errorf("%s %s: %v is changed to %d bytes", s.keyType, s.class, typ, len(long))
			}
		}
	}
}

func BenchmarkReadable(b *testing.B) {
	o, err := rules.Create(ecPrivate())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		rules.Readable(o, pkcs11.CKA_EC_PARAMS)
	}
}

func BenchmarkSensitive(b *testing.B) {
	for b.Loop() {
		rules.Sensitive(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC, pkcs11.CKA_LABEL)
	}
}

func BenchmarkComplete(b *testing.B) {
	o, err := rules.Create(ecPublic())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		rules.Complete(o)
	}
}

func BenchmarkCreate(b *testing.B) {
	for _, c := range []struct {
		name string
		t    pkcs11.Template
	}{{"EC private", ecPrivate()}, {"EC public", ecPublic()}, {"certificate", certificate()}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rules.Create(c.t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGeneratePair(b *testing.B) {
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}
	pub := pkcs11.Template{attr(pkcs11.CKA_EC_PARAMS, p256)}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := rules.GeneratePair(m, pub, nil); err != nil {
			b.Fatal(err)
		}
	}
}
