package conformance

import (
	"bytes"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	hmacRow = row(pkcs11.CKM_SHA256_HMAC, pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY, 0)
	cmacRow = row(pkcs11.CKM_AES_CMAC, pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY, 0)
)

func secretCases() []Case {
	return suite("secret", false,
		Case{ID: "SEC-01", Name: "an HMAC is the known one, made and verified", Clause: "v2.40 mechanisms §2.21", serial: true,
			Ancestors: []string{"INT SHA256_HMAC", "gap 20"}, needs: needs(hmacRow, wantsCreate), run: func(t *T) {
				mac(t, secretTemplate(t.secretLabel(cryptoki.HMACKey), pkcs11.CKK_SHA256_HMAC, hmacKey), pkcs11.CKM_SHA256_HMAC, hmacTag)
			}},
		Case{ID: "SEC-02", Name: "a CMAC is the known one, made and verified", Clause: "v2.40 mechanisms §2.11", serial: true,
			Ancestors: []string{"INT AES_CMAC", "gap 20"}, needs: needs(cmacRow, wantsCreate), run: func(t *T) {
				mac(t, secretTemplate(t.secretLabel(cryptoki.CMACKey), pkcs11.CKK_AES, cmacKey), pkcs11.CKM_AES_CMAC, cmacTag)
			}},
		Case{ID: "SEC-03", Name: "a secret key has attributes, and does not show its value", Clause: "v2.40 §4.10",
			Ancestors: []string{"R-24"}, needs: needs(hmacRow, wantsCreate), run: func(t *T) {
				s := t.session()
				h := t.create(s, append(secretTemplate(t.label("key"), pkcs11.CKK_GENERIC_SECRET, hmacKey), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false)))
				t.equal("CKA_CLASS", pkcs11.ObjectClass(t.get(s, h, pkcs11.CKA_CLASS).Uint()), pkcs11.CKO_SECRET_KEY)
				t.equal("CKA_KEY_TYPE", pkcs11.KeyType(t.get(s, h, pkcs11.CKA_KEY_TYPE).Uint()), pkcs11.CKK_GENERIC_SECRET)
				t.equal("CKA_VALUE_LEN", t.get(s, h, pkcs11.CKA_VALUE_LEN).Uint(), uint64(len(hmacKey)))
				t.hidden(s, h, pkcs11.CKA_VALUE, sensitive)
				found := t.all(s, attr(pkcs11.CKA_LABEL, t.label("key")), attr(pkcs11.CKA_VALUE, hmacKey))
				t.equal("objects found by the secret", len(found), 0)
			}},
		Case{ID: "SEC-04", Name: "a secret key without a value, or with one of a wrong length, is refused", Clause: "v2.40 §5.7, CKR_TEMPLATE_INCOMPLETE",
			Ancestors: []string{"R-12", "R-13", "gap 15"}, needs: needs(cmacRow, wantsCreate), run: func(t *T) {
				s := t.session()
				label := t.label("refused")
				t.refuse(s, "no value", without(secretTemplate(label, pkcs11.CKK_AES, cmacKey), pkcs11.CKA_VALUE), incomplete)
				t.refuse(s, "no bytes", secretTemplate(label, pkcs11.CKK_AES, []byte{}), badValue, incomplete)
				for _, n := range []int{1, 15, 17, 31, 33, 64} {
					t.refuse(s, "an AES key of a wrong length", secretTemplate(label, pkcs11.CKK_AES, bytes.Repeat([]byte{7}, n)), badValue, pkcs11.CKR_KEY_SIZE_RANGE)
				}
			}},
		Case{ID: "SEC-05", Name: "a MAC wants a key of its type", Clause: "v2.40 §5.11, CKR_KEY_TYPE_INCONSISTENT",
			Ancestors: []string{"R-13", "gap 20"}, needs: needs(hmacRow, cmacRow, wantsCreate), run: func(t *T) {
				s := t.session()
				size := 32
				if !t.e.has(pkcs11.CKM_AES_CMAC, pkcs11.CKF_SIGN, 32) {
					size = 16
				}
				aes := t.create(s, secretTemplate(t.label("aes"), pkcs11.CKK_AES, bytes.Repeat([]byte{7}, size)))
				generic := t.create(s, secretTemplate(t.label("generic"), pkcs11.CKK_GENERIC_SECRET, hmacKey))
				t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_SHA256_HMAC), aes), badKeyType)
				t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_AES_CMAC), generic), badKeyType)
				t.want(s.VerifyInit(t.ctx, mech(pkcs11.CKM_AES_CMAC), generic), badKeyType)
				if t.e.has(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 0) {
					t.want(s.SignInit(t.ctx, ecdsaMech, aes), badKeyType)
				}
				t.equal("the length of a CMAC with the longest key", len(t.sign(s, mech(pkcs11.CKM_AES_CMAC), aes, hmacMessage)), 16)
			}},
	)
}

func secretTemplate(label string, typ pkcs11.KeyType, value []byte) pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, typ), attr(pkcs11.CKA_LABEL, label),
		attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_VALUE, bytes.Clone(value)),
	}
}

// secretLabel is the well-known label if the places are the suite's.
func (t *T) secretLabel(place string) string {
	if t.e.owned && t.e.labels == placeLabels {
		return place
	}
	return t.label("key")
}

// mac verifies the known tag, then makes it, with lengths and negatives.
func mac(t *T, template pkcs11.Template, typ pkcs11.MechanismType, tag []byte) {
	s, m := t.session(), mech(typ)
	h := t.create(s, template)
	t.ok(t.verify(s, m, h, hmacMessage, tag))
	t.equal("the tag", t.sign(s, m, h, hmacMessage), tag)
	t.want(t.verify(s, m, h, hmacMessage, flipped(tag, 0)), badSignature)
	t.want(t.verify(s, m, h, shaMessage, tag), badSignature)
	t.want(t.verify(s, m, h, hmacMessage, tag[:len(tag)-1]), sigRange)
	t.want(t.verify(s, m, h, hmacMessage, nil), sigRange)
	t.ok(s.SignInit(t.ctx, m, h))
	t.ok(s.SignUpdate(t.ctx, hmacMessage[:5]))
	t.ok(s.SignUpdate(t.ctx, hmacMessage[5:]))
	sig := make([]byte, len(tag))
	_, err := s.SignFinal(t.ctx, sig)
	t.ok(err)
	t.equal("the tag of parts", sig, tag)
	t.equal("the length of the tag of nothing", len(t.sign(s, m, h, nil)), len(tag))
}
