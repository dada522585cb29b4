package conformance_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/asn1"
	"errors"
	"io/fs"
	"math/big"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A mutant is a module that is wrong in one way, and the case that says so.
type mutant struct {
	name   string
	caught string // the case
	lies   lies
	soft   bool // the right module is over backends/soft, which has more mechanisms
	// or a driver that is wrong:
	driver func(*vault) driver.Token
}

var errNoCode = errors.New("no code at all")

// forgive returns nil for errors of the codes.
func forgive(err error, codes ...pkcs11.Error) error {
	for _, c := range codes {
		if errors.Is(err, c) {
			return nil
		}
	}
	return err
}

func toDER(raw []byte) []byte {
	der, _ := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:len(raw)/2]), new(big.Int).SetBytes(raw[len(raw)/2:])})
	return der
}

var mutants = []mutant{
	// Signatures.
	{name: "signs in DER", caught: "FIT-23", lies: lies{sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
		n, err := s.Session.Sign(ctx, data, sig)
		if err == nil && sig != nil && n == 64 {
			n = copy(sig, toDER(sig[:64]))
		}
		return n, err
	}}},
	{name: "ends the operation when asked for the length", caught: "SGN-01", lies: lies{sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
		n, err := s.Session.Sign(ctx, data, sig)
		if sig == nil {
			s.Session.SessionCancel(ctx, pkcs11.CKF_SIGN)
		}
		return n, err
	}}},
	{name: "ends the operation when the buffer is too short", caught: "MBT-Sign-28-EC", lies: lies{sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
		n, err := s.Session.Sign(ctx, data, sig)
		if errors.Is(err, pkcs11.CKR_BUFFER_TOO_SMALL) {
			s.Session.SessionCancel(ctx, pkcs11.CKF_SIGN)
		}
		return n, err
	}}},
	{name: "keeps the operation after an error", caught: "SGN-12", lies: lies{
		signInit: remember,
		sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
			n, err := s.Session.Sign(ctx, data, sig)
			if errors.Is(err, pkcs11.CKR_DATA_LEN_RANGE) {
				s.Session.SignInit(ctx, s.mech, s.key)
			}
			return n, err
		}}},
	{name: "keeps the operation after the signature", caught: "MBT-Sign-18-EC", lies: lies{
		signInit: remember,
		sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
			n, err := s.Session.Sign(ctx, data, sig)
			if err == nil && sig != nil {
				s.Session.SignInit(ctx, s.mech, s.key)
			}
			return n, err
		}}},
	{name: "begins a signature over another", caught: "MBT-Sign-0-RSA", lies: lies{signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
		s.Session.SessionCancel(ctx, pkcs11.CKF_SIGN)
		return s.Session.SignInit(ctx, m, key)
	}}},
	{name: "does not tell the length to a short buffer", caught: "SGN-01", lies: lies{sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
		n, err := s.Session.Sign(ctx, data, sig)
		if errors.Is(err, pkcs11.CKR_BUFFER_TOO_SMALL) {
			n = len(sig)
		}
		return n, err
	}}},
	{name: "signs with a destroyed key", caught: "SGN-02", lies: lies{
		destroy: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle) error { s.notes.key = h; return nil },
		sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
			n, err := s.Session.Sign(ctx, data, sig)
			if s.notes.key != 0 {
				s.Session.DestroyObject(ctx, s.notes.key)
			}
			return n, err
		}}},
	{name: "keeps the key of an abandoned operation in a cache", caught: "SGN-03", lies: lies{
		signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
			if s.notes.key != 0 {
				key = s.notes.key
			}
			s.key = key
			return s.Session.SignInit(ctx, m, key)
		},
		destroy: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle) error {
			if h == s.key {
				s.notes.key = h
				return nil
			}
			return s.Session.DestroyObject(ctx, h)
		}}},
	{name: "signs with the first key it was given", caught: "SGN-04", lies: lies{signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
		if s.notes.key == 0 {
			s.notes.key = key
		}
		return s.Session.SignInit(ctx, m, s.notes.key)
	}}},
	{name: "drops leading zeros of signatures", caught: "SGN-05", lies: lies{sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
		n, err := s.Session.Sign(ctx, data, sig)
		if err == nil && sig != nil && n == 64 && sig[0] < 16 { // one in 16, so that the test is certain
			n = copy(sig, sig[1:64])
		}
		return n, err
	}}},
	{name: "refuses digests longer than the order", caught: "SGN-06", lies: lies{sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
		if len(data) == 48 {
			s.Session.SessionCancel(ctx, pkcs11.CKF_SIGN)
			return 0, pkcs11.CKR_FUNCTION_FAILED
		}
		return s.Session.Sign(ctx, data, sig)
	}}},
	{name: "calls too much RSA data a failed function", caught: "SGN-07", lies: lies{sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
		n, err := s.Session.Sign(ctx, data, sig)
		if errors.Is(err, pkcs11.CKR_DATA_LEN_RANGE) {
			err = pkcs11.CKR_FUNCTION_FAILED
		}
		return n, err
	}}},
	{name: "lets SignFinal follow Sign", caught: "SGN-09", lies: lies{signFinal: func(s *liar, ctx context.Context, sig []byte) (int, error) {
		n, err := s.Session.SignFinal(ctx, sig)
		return n, forgive(err, pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	}}},
	{name: "signs with keys that may not", caught: "MBT-Sign-5-EC", lies: lies{signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
		return forgive(s.Session.SignInit(ctx, m, key), pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}}},
	{name: "does not check the type of the key after an abandoned operation", caught: "SGN-11", lies: lies{
		signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
			err := s.Session.SignInit(ctx, m, key)
			if key == s.key {
				err = forgive(err, pkcs11.CKR_KEY_TYPE_INCONSISTENT)
			}
			s.key = key
			return err
		}}},
	{name: "calls a public key an invalid handle", caught: "MBT-Sign-6-EC", lies: lies{signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
		err := s.Session.SignInit(ctx, m, key)
		if errors.Is(err, pkcs11.CKR_KEY_TYPE_INCONSISTENT) {
			err = pkcs11.CKR_KEY_HANDLE_INVALID
		}
		return err
	}}},
	{name: "panics without a mechanism", caught: "MOD-08", lies: lies{signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
		_ = m.Type
		return s.Session.SignInit(ctx, m, key)
	}}},

	// Verification.
	{name: "verifies everything", caught: "VFY-01", lies: lies{verify: func(s *liar, ctx context.Context, data, sig []byte) error {
		s.Session.Verify(ctx, data, sig)
		return nil
	}}},
	{name: "verifies any RSA signature of the right length", caught: "VFY-02", lies: lies{verify: func(s *liar, ctx context.Context, data, sig []byte) error {
		err := s.Session.Verify(ctx, data, sig)
		if len(sig) == 256 {
			return nil
		}
		return err
	}}},
	{name: "verifies signatures with something behind them", caught: "VFY-01", lies: lies{verify: func(s *liar, ctx context.Context, data, sig []byte) error {
		return s.Session.Verify(ctx, data, sig[:min(len(sig), 64)])
	}}},
	{name: "does not look at the last byte of the digest", caught: "VFY-01", lies: lies{verify: func(s *liar, ctx context.Context, data, sig []byte) error {
		err := s.Session.Verify(ctx, data, sig)
		if err == nil && s.text == "" {
			s.text = string(data[:len(data)-1]) + string(sig)
		} else if len(data) == 32 && s.text == string(data[:31])+string(sig) {
			return nil
		}
		return err
	}}},
	{name: "verifies DER", caught: "STO-02", lies: lies{verify: func(s *liar, ctx context.Context, data, sig []byte) error {
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(sig, &rs); err == nil {
			sig = append(rs.R.FillBytes(make([]byte, 32)), rs.S.FillBytes(make([]byte, 32))...)
		}
		return s.Session.Verify(ctx, data, sig)
	}}},
	{name: "calls a wrong length a wrong signature", caught: "MBT-Verify-13", lies: lies{verify: func(s *liar, ctx context.Context, data, sig []byte) error {
		err := s.Session.Verify(ctx, data, sig)
		if errors.Is(err, pkcs11.CKR_SIGNATURE_LEN_RANGE) {
			err = pkcs11.CKR_SIGNATURE_INVALID
		}
		return err
	}}},
	{name: "keeps the operation after a wrong signature", caught: "MBT-Verify-16", lies: lies{
		verifyInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
			s.mech, s.key = m, key
			return s.Session.VerifyInit(ctx, m, key)
		},
		verify: func(s *liar, ctx context.Context, data, sig []byte) error {
			err := s.Session.Verify(ctx, data, sig)
			if errors.Is(err, pkcs11.CKR_SIGNATURE_INVALID) {
				s.Session.VerifyInit(ctx, s.mech, s.key)
			}
			return err
		}}},
	{name: "verifies with a private key", caught: "MBT-Verify-6", lies: lies{verifyInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
		return forgive(s.Session.VerifyInit(ctx, m, key), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}}},
	{name: "verifies parts that lack the end", caught: "VFY-08", lies: lies{verifyFinal: func(s *liar, ctx context.Context, sig []byte) error {
		return forgive(s.Session.VerifyFinal(ctx, sig), pkcs11.CKR_SIGNATURE_INVALID)
	}}},

	// Attributes.
	{name: "shows private exponents", caught: "ATT-01", lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		if t[0].Type == pkcs11.CKA_COEFFICIENT && errors.Is(t[0].Err(), pkcs11.CKR_ATTRIBUTE_SENSITIVE) {
			t[0].Value = []byte{1, 2, 3}
			return nil
		}
		return err
	}}},
	{name: "hands out a secret beside its refusal", caught: "FIT-13", lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		if errors.Is(err, pkcs11.CKR_ATTRIBUTE_SENSITIVE) {
			t[0].Value = []byte{1, 2, 3}
		}
		return err
	}}},
	{name: "has the private key in the public key's value", caught: "ATT-03", lies: lies{
		create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
			if v := t.Bytes(pkcs11.CKA_VALUE); len(v) == 32 {
				s.text = string(v)
			}
			return s.Session.CreateObject(ctx, t)
		},
		get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
			err := s.Session.GetAttributeValue(ctx, h, t)
			if t[0].Type == pkcs11.CKA_VALUE && errors.Is(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) {
				t[0].Value = []byte("\x30\x31" + s.text + "\xa0")
				return nil
			}
			return err
		}}},
	{name: "forgets a refusal when the next attribute is fine", caught: "ATT-02", lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		if len(t) > 1 && t[len(t)-1].Err() == nil {
			return nil
		}
		return err
	}}},
	{name: "stops at the first refusal", caught: "ATT-02", lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		for i := range t {
			if err := s.Session.GetAttributeValue(ctx, h, t[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}}},
	{name: "has keys with an empty ID", caught: "ATT-07", lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		if t[0].Type == pkcs11.CKA_ID {
			t[0].Value = []byte{}
		}
		return err
	}}},
	{name: "makes keys that are not sensitive", caught: "ATT-06", lies: lies{get: turn(pkcs11.CKA_SENSITIVE, false)}},
	{name: "says that an imported key was never extractable", caught: "ATT-09", lies: lies{get: turn(pkcs11.CKA_NEVER_EXTRACTABLE, true)}},
	{name: "says that an imported key is local", caught: "ATT-09", lies: lies{get: turn(pkcs11.CKA_LOCAL, true)}},
	{name: "takes CKA_LOCAL from callers", caught: "ATT-10", lies: lies{create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		return s.Session.CreateObject(ctx, drop(t, pkcs11.CKA_LOCAL))
	}}},
	{name: "takes back that a key is sensitive", caught: "ATT-17", lies: lies{set: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		return forgive(s.Session.SetAttributeValue(ctx, h, t), pkcs11.CKR_ATTRIBUTE_READ_ONLY)
	}}},
	{name: "changes some attributes of a template before it refuses the others", caught: "ATT-17", lies: lies{set: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		for i := range t {
			if err := s.Session.SetAttributeValue(ctx, h, t[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}}},
	{name: "pads the modulus with a zero", caught: "ATT-04", lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		if t[0].Type == pkcs11.CKA_MODULUS && err == nil {
			t[0].Value = append([]byte{0}, t[0].Bytes()...)
		}
		return err
	}}},
	{name: "hands out its own memory", caught: "ATT-13", lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		if t[0].Type == pkcs11.CKA_VALUE && err == nil {
			if s.notes.bytes == nil {
				s.notes.bytes = map[string][]byte{}
			}
			if s.notes.bytes["value"] == nil {
				s.notes.bytes["value"] = t[0].Bytes()
			}
			t[0].Value = s.notes.bytes["value"]
		}
		return err
	}}},
	{name: "keeps the old public key of a private key that was replaced", caught: "OBJ-10", lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		for i := range t {
			if t[i].Type == pkcs11.CKA_PUBLIC_KEY_INFO && t[i].Err() == nil {
				t[i].Value = bytes.Repeat([]byte{1}, 91)
			}
		}
		return err
	}}},

	// Objects.
	{name: "uses a handle twice", caught: "OBJ-01", lies: lies{
		create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
			h, err := s.Session.CreateObject(ctx, t)
			if err == nil {
				s.notes.key, h = h, 7
			}
			return h, err
		},
		destroy: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle) error {
			return s.Session.DestroyObject(ctx, s.notes.key)
		},
	}},
	{name: "does not destroy", caught: "FIT-28", lies: lies{destroy: func(*liar, context.Context, pkcs11.ObjectHandle) error { return nil }}},
	{name: "calls the destruction of nothing a success", caught: "OBJ-02", lies: lies{destroy: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle) error {
		return forgive(s.Session.DestroyObject(ctx, h), pkcs11.CKR_OBJECT_HANDLE_INVALID)
	}}},
	{name: "puts a second object into a place", caught: "OBJ-11", lies: lies{create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		return s.Session.CreateObject(ctx, append(t.Clone(), pkcs11.Attr(pkcs11.CKA_ID, []byte("another"))))
	}}},
	{name: "creates what lacks a value", caught: "OBJ-06", lies: lies{create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		h, err := s.Session.CreateObject(ctx, t)
		return h, forgive(err, pkcs11.CKR_TEMPLATE_INCOMPLETE)
	}}},
	{name: "takes points that are not on the curve", caught: "OBJ-07", lies: lies{create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		h, err := s.Session.CreateObject(ctx, t)
		if len(t.Bytes(pkcs11.CKA_EC_POINT)) == 67 {
			err = forgive(err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
		}
		return h, err
	}}},
	{name: "leaves half a key pair behind a refusal", caught: "OBJ-08", lies: lies{generate: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, pub, priv pkcs11.Template) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error) {
		p, q, err := s.Session.GenerateKeyPair(ctx, m, pub, priv)
		if err != nil {
			s.Session.CreateObject(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_LABEL, pub.Text(pkcs11.CKA_LABEL))})
		}
		return p, q, err
	}}},
	{name: "generates on P-256 whatever the curve", caught: "OBJ-08", lies: lies{generate: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, pub, priv pkcs11.Template) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error) {
		if len(pub.Bytes(pkcs11.CKA_EC_PARAMS)) != 10 {
			pub = pub.Clone().Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}))
		}
		return s.Session.GenerateKeyPair(ctx, m, pub, priv)
	}}},
	{name: "cuts labels at 32 bytes", caught: "OBJ-05", lies: lies{create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		if l := t.Text(pkcs11.CKA_LABEL); len(l) > 32 {
			t = t.Clone().Set(pkcs11.Attr(pkcs11.CKA_LABEL, l[:32]))
		}
		return s.Session.CreateObject(ctx, t)
	}}},
	{name: "takes six objects and no more", caught: "OBJ-04", lies: lies{create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		if s.key++; s.key > 6 {
			return 0, pkcs11.CKR_HOST_MEMORY
		}
		return s.Session.CreateObject(ctx, t)
	}}},
	{name: "copies what may not be copied", caught: "OBJ-16", lies: lies{copy: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		c, err := s.Session.CopyObject(ctx, h, t)
		return c, forgive(err, pkcs11.CKR_ACTION_PROHIBITED)
	}}},

	// Search.
	{name: "searches without the class", caught: "FND-01", lies: lies{findInit: func(s *liar, ctx context.Context, t pkcs11.Template) error {
		return s.Session.FindObjectsInit(ctx, drop(t, pkcs11.CKA_CLASS))
	}}},
	{name: "searches by the beginning of the label", caught: "OBJ-05", lies: lies{findInit: func(s *liar, ctx context.Context, t pkcs11.Template) error {
		if label := t.Text(pkcs11.CKA_LABEL); strings.HasSuffix(label, "x") {
			t = t.Clone().Set(pkcs11.Attr(pkcs11.CKA_LABEL, strings.TrimSuffix(label, "x")))
		}
		return s.Session.FindObjectsInit(ctx, t)
	}}},
	{name: "finds one object at a time", caught: "FND-02", lies: lies{find: func(s *liar, ctx context.Context, h []pkcs11.ObjectHandle) (int, error) {
		if len(h) != 1 {
			return 0, pkcs11.CKR_ARGUMENTS_BAD
		}
		return s.Session.FindObjects(ctx, h)
	}}},
	{name: "finds the same object for ever", caught: "FND-02", lies: lies{find: func(s *liar, ctx context.Context, h []pkcs11.ObjectHandle) (int, error) {
		n, err := s.Session.FindObjects(ctx, h)
		if n > 0 {
			s.key = h[0]
		} else if err == nil && s.key != 0 {
			h[0], n = s.key, 1
		}
		return n, err
	}}},
	{name: "refuses an empty template", caught: "FND-03", lies: lies{findInit: func(s *liar, ctx context.Context, t pkcs11.Template) error {
		if len(t) == 0 {
			return pkcs11.CKR_ARGUMENTS_BAD
		}
		return s.Session.FindObjectsInit(ctx, t)
	}}},
	{name: "has one operation of any kind", caught: "FND-04", lies: lies{
		signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
			s.open = true
			return s.Session.SignInit(ctx, m, key)
		},
		findInit: func(s *liar, ctx context.Context, t pkcs11.Template) error {
			if s.open {
				return pkcs11.CKR_OPERATION_ACTIVE
			}
			return s.Session.FindObjectsInit(ctx, t)
		}}},
	{name: "finds a secret by its value", caught: "FND-07", lies: lies{findInit: func(s *liar, ctx context.Context, t pkcs11.Template) error {
		return s.Session.FindObjectsInit(ctx, drop(t, pkcs11.CKA_VALUE))
	}}},
	{name: "ends a search that is not there", caught: "MBT-Object-10", lies: lies{findFinal: func(s *liar, ctx context.Context) error {
		return forgive(s.Session.FindObjectsFinal(ctx), pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	}}},

	// Digests.
	{name: "wants a buffer of exactly the digest", caught: "DIG-01", lies: lies{digestFinal: func(s *liar, ctx context.Context, digest []byte) (int, error) {
		if len(digest) > 32 {
			return 32, pkcs11.CKR_BUFFER_TOO_SMALL
		}
		return s.Session.DigestFinal(ctx, digest)
	}}},
	{name: "ends the digest at an empty part", caught: "DIG-01", lies: lies{digestUpdate: func(s *liar, ctx context.Context, part []byte) error {
		if len(part) == 0 {
			s.Session.SessionCancel(ctx, pkcs11.CKF_DIGEST)
			return pkcs11.CKR_ARGUMENTS_BAD
		}
		return s.Session.DigestUpdate(ctx, part)
	}}},
	{name: "digests for all sessions in one place", caught: "DIG-06", lies: lies{
		digestInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism) error {
			s.notes.mu.Lock()
			defer s.notes.mu.Unlock()
			s.notes.other = s.Session
			return s.Session.DigestInit(ctx, m)
		},
		digestUpdate: func(s *liar, ctx context.Context, part []byte) error {
			s.notes.mu.Lock()
			defer s.notes.mu.Unlock()
			return s.notes.other.DigestUpdate(ctx, part)
		}}},
	{name: "does not know that a digest is open", caught: "MBT-Digest-1", lies: lies{digestInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism) error {
		return forgive(s.Session.DigestInit(ctx, m), pkcs11.CKR_OPERATION_ACTIVE)
	}}},
	{name: "lets Digest follow DigestUpdate", caught: "DIG-03", lies: lies{digest: func(s *liar, ctx context.Context, data, digest []byte) (int, error) {
		n, err := s.Session.Digest(ctx, data, digest)
		return n, forgive(err, pkcs11.CKR_OPERATION_ACTIVE)
	}}},

	// Random numbers.
	{name: "draws zeros", caught: "RND-01", lies: lies{random: func(*liar, context.Context, []byte) error { return nil }}},
	{name: "draws the same after a restart", caught: "RND-03", lies: lies{random: func(s *liar, ctx context.Context, b []byte) error {
		for i := range b {
			s.key++
			b[i] = byte(s.key * 31)
		}
		return nil
	}}},
	{name: "draws 1024 bytes at most", caught: "RND-01", lies: lies{random: func(s *liar, ctx context.Context, b []byte) error {
		if len(b) > 1024 {
			return pkcs11.CKR_FUNCTION_FAILED
		}
		return s.Session.GenerateRandom(ctx, b)
	}}},
	{name: "draws with a bias", caught: "RND-04", lies: lies{random: func(s *liar, ctx context.Context, b []byte) error {
		err := s.Session.GenerateRandom(ctx, b)
		for i := range b {
			b[i] |= 1
		}
		return err
	}}},

	// Sessions, login, token.
	{name: "opens read-only sessions read-write", caught: "SES-04", lies: lies{openSession: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
		return m.OpenSession(ctx, slot, flags|pkcs11.SessionFlags(pkcs11.CKF_RW_SESSION))
	}}},
	{name: "opens parallel sessions", caught: "SES-02", lies: lies{openSession: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
		return m.OpenSession(ctx, slot, flags|pkcs11.SessionFlags(pkcs11.CKF_SERIAL_SESSION))
	}}},
	{name: "closes a closed session", caught: "SES-01", lies: lies{close: func(s *liar) error {
		return forgive(s.Session.Close(), pkcs11.CKR_SESSION_HANDLE_INVALID)
	}}},
	{name: "lets go of no session", caught: "SES-11", lies: lies{close: func(*liar) error { return nil }}},
	{name: "keeps sessions over CloseAllSessions", caught: "SES-06", lies: lies{closeAll: func(cryptoki.Module, context.Context, pkcs11.SlotID) error { return nil }}},
	{name: "has ten sessions and never one back", caught: "SES-05", lies: lies{close: func(*liar) error { return nil }, openSession: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
		info, err := m.TokenInfo(ctx, slot)
		if err == nil && info.SessionCount >= 10 {
			err = pkcs11.CKR_SESSION_COUNT
		}
		if err != nil {
			return nil, err
		}
		return m.OpenSession(ctx, slot, flags)
	}}},
	{name: "cancels everything when it cancels something", caught: "SES-10", lies: lies{cancel: func(s *liar, ctx context.Context, flags uint64) error {
		return s.Session.SessionCancel(ctx, ^uint64(0))
	}}},
	{name: "closes twice", caught: "FIT-03", lies: lies{closeModule: func(m cryptoki.Module) error { return forgive(m.Close(), pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) }}},
	{name: "does not close", caught: "MOD-01", lies: lies{closeModule: func(cryptoki.Module) error { return nil }}},
	{name: "does not look at slots", caught: "MOD-03", lies: lies{tokenInfo: func(m cryptoki.Module, ctx context.Context, _ pkcs11.SlotID) (pkcs11.TokenInfo, error) {
		return m.TokenInfo(ctx, 1)
	}}},
	{name: "lists no slots", caught: "FIT-04", lies: lies{slots: func(m cryptoki.Module, ctx context.Context, present bool) ([]pkcs11.SlotID, error) {
		ids, err := m.Slots(ctx, present)
		if !present {
			ids = nil
		}
		return ids, err
	}}},
	{name: "says nothing of the token", caught: "TOK-01", lies: lies{tokenInfo: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID) (pkcs11.TokenInfo, error) {
		info, err := m.TokenInfo(ctx, slot)
		return pkcs11.TokenInfo{Flags: info.Flags}, err
	}}},
	{name: "has info on mechanisms that it does not have", caught: "TOK-02", lies: lies{mechanismInfo: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, typ pkcs11.MechanismType) (pkcs11.MechanismInfo, error) {
		info, err := m.MechanismInfo(ctx, slot, typ)
		return info, forgive(err, pkcs11.CKR_MECHANISM_INVALID)
	}}},
	{name: "says that it does not verify", caught: "TOK-02", lies: lies{mechanismInfo: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, typ pkcs11.MechanismType) (pkcs11.MechanismInfo, error) {
		info, err := m.MechanismInfo(ctx, slot, typ)
		if typ == pkcs11.CKM_ECDSA {
			info.Flags &^= pkcs11.CKF_VERIFY
		}
		return info, err
	}}},
	{name: "initializes for any PIN", caught: "TOK-03", lies: lies{initToken: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, _ []byte, label string) error {
		return m.InitToken(ctx, slot, []byte("0000"), label)
	}}},
	{name: "initializes with sessions open", caught: "TOK-03", lies: lies{initToken: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, soPIN []byte, label string) error {
		return forgive(m.InitToken(ctx, slot, soPIN, label), pkcs11.CKR_SESSION_EXISTS)
	}}},
	{name: "logs in with any PIN", caught: "LOG-01", lies: lies{login: func(s *liar, ctx context.Context, user pkcs11.UserType, pin []byte) error {
		return s.Session.Login(ctx, user, []byte("0000"))
	}}},
	{name: "logs in twice", caught: "LOG-02", lies: lies{login: func(s *liar, ctx context.Context, user pkcs11.UserType, pin []byte) error {
		return forgive(s.Session.Login(ctx, user, pin), pkcs11.CKR_USER_ALREADY_LOGGED_IN)
	}}},
	{name: "checks the PIN before it says that somebody is logged in", caught: "LOG-02", lies: lies{login: func(s *liar, ctx context.Context, user pkcs11.UserType, pin []byte) error {
		err := s.Session.Login(ctx, user, pin)
		if errors.Is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) && string(pin) != "0000" {
			err = pkcs11.CKR_PIN_INCORRECT
		}
		return err
	}}},
	{name: "stays logged in after the last session", caught: "LOG-03", lies: lies{openSession: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
		if info, err := m.TokenInfo(ctx, slot); err == nil && info.SessionCount == 0 && info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED != 0 {
			if _, err := m.OpenSession(ctx, slot, flags); err != nil { // nobody closes it
				return nil, err
			}
		}
		return m.OpenSession(ctx, slot, flags)
	}}},
	{name: "logs out those who are not logged in", caught: "LOG-04", lies: lies{logout: func(s *liar, ctx context.Context) error {
		return forgive(s.Session.Logout(ctx), pkcs11.CKR_USER_NOT_LOGGED_IN)
	}}},
	{name: "logs nobody out", caught: "LOG-04", lies: lies{logout: func(*liar, context.Context) error { return nil }}},
	{name: "is logged in from the start", caught: "LOG-05", lies: lies{
		openSession: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
			s, err := m.OpenSession(ctx, slot, flags)
			if err == nil {
				s.Login(ctx, pkcs11.CKU_USER, []byte("0000"))
			}
			return s, err
		},
		login: func(s *liar, ctx context.Context, user pkcs11.UserType, pin []byte) error {
			err := s.Session.Login(ctx, user, pin)
			if user == pkcs11.CKU_USER {
				err = forgive(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN)
			}
			return err
		}}},
	{name: "takes a context-specific login at any time", caught: "LOG-06", lies: lies{login: func(s *liar, ctx context.Context, user pkcs11.UserType, pin []byte) error {
		err := s.Session.Login(ctx, user, pin)
		if user == pkcs11.CKU_CONTEXT_SPECIFIC {
			err = forgive(err, pkcs11.CKR_OPERATION_NOT_INITIALIZED)
		}
		return err
	}}},
	{name: "does not change the PIN", caught: "LOG-07", lies: lies{setPIN: func(s *liar, ctx context.Context, oldPIN, newPIN []byte) error {
		if string(oldPIN) != "0000" {
			return pkcs11.CKR_PIN_INCORRECT
		}
		return nil
	}}},
	{name: "lets the user initialize the PIN", caught: "LOG-08", lies: lies{initPIN: func(s *liar, ctx context.Context, pin []byte) error {
		return forgive(s.Session.InitPIN(ctx, pin), pkcs11.CKR_USER_NOT_LOGGED_IN)
	}}},
	{name: "lets the SO in beside read-only sessions", caught: "LOG-09", lies: lies{login: func(s *liar, ctx context.Context, user pkcs11.UserType, pin []byte) error {
		return forgive(s.Session.Login(ctx, user, pin), pkcs11.CKR_SESSION_READ_ONLY_EXISTS)
	}}},
	{name: "says that it is unlocked when it is locked", caught: "LOG-11", lies: lies{tokenInfo: func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID) (pkcs11.TokenInfo, error) {
		info, err := m.TokenInfo(ctx, slot)
		info.Flags &^= pkcs11.CKF_USER_PIN_LOCKED
		return info, err
	}}},
	{name: "takes PINs of any length", caught: "LOG-12", lies: lies{setPIN: func(s *liar, ctx context.Context, oldPIN, newPIN []byte) error {
		return forgive(s.Session.SetPIN(ctx, oldPIN, newPIN), pkcs11.CKR_PIN_LEN_RANGE)
	}}},
	{name: "wants the PIN for the first signature only", caught: "LOG-13", lies: lies{
		signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
			err := s.Session.SignInit(ctx, m, key)
			if s.open && err == nil {
				s.Session.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, []byte("0000"))
			}
			return err
		},
		login: func(s *liar, ctx context.Context, user pkcs11.UserType, pin []byte) error {
			err := s.Session.Login(ctx, user, pin)
			if user == pkcs11.CKU_CONTEXT_SPECIFIC && err == nil {
				s.open = true
			}
			return err
		}}},
	{name: "has errors without a code", caught: "MOD-07", lies: lies{random: func(*liar, context.Context, []byte) error { return errNoCode }}},
	{name: "answers with a system error", caught: "MOD-08", lies: lies{destroy: func(*liar, context.Context, pkcs11.ObjectHandle) error { return fs.ErrNotExist }}},
	{name: "has sessions in the wrong state", caught: "SES-03", lies: lies{info: func(s *liar, ctx context.Context) (pkcs11.SessionInfo, error) {
		info, err := s.Session.Info(ctx)
		if info.State == pkcs11.CKS_RO_USER_FUNCTIONS {
			info.State = pkcs11.CKS_RW_USER_FUNCTIONS
		}
		return info, err
	}}},

	// Secret keys, encryption, management of keys.
	{name: "makes MACs of another key", caught: "SEC-01", soft: true, lies: lies{sign: func(s *liar, ctx context.Context, data, sig []byte) (int, error) {
		n, err := s.Session.Sign(ctx, data, sig)
		if err == nil && sig != nil {
			sig[0]++
		}
		return n, err
	}}},
	{name: "compares the beginning of MACs", caught: "SEC-02", soft: true, lies: lies{verify: func(s *liar, ctx context.Context, data, sig []byte) error {
		return forgive(s.Session.Verify(ctx, data, sig), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	}}},
	{name: "finds secret keys by their value", caught: "SEC-03", soft: true, lies: lies{findInit: func(s *liar, ctx context.Context, t pkcs11.Template) error {
		return s.Session.FindObjectsInit(ctx, drop(t, pkcs11.CKA_VALUE))
	}}},
	{name: "makes MACs with keys of any type", caught: "SEC-05", soft: true, lies: lies{signInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
		return forgive(s.Session.SignInit(ctx, m, key), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}}},
	{name: "tells wrong padding from wrong lengths inside", caught: "CRY-01", soft: true, lies: lies{decrypt: func(s *liar, ctx context.Context, data, out []byte) (int, error) {
		n, err := s.Session.Decrypt(ctx, data, out)
		if s.key++; errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID) && s.key%2 == 0 {
			err = pkcs11.CKR_DATA_INVALID
		}
		return n, err
	}}},
	{name: "decrypts OAEP with any label", caught: "CRY-02", soft: true, lies: lies{decrypt: func(s *liar, ctx context.Context, data, out []byte) (int, error) {
		n, err := s.Session.Decrypt(ctx, data, out)
		return n, forgive(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID)
	}}},
	{name: "forgets the counter of AES-CTR", caught: "CRY-06", soft: true, lies: lies{decryptInit: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
		if p, ok := m.Params.(*pkcs11.CTRParams); ok {
			m = &pkcs11.Mechanism{Type: m.Type, Params: &pkcs11.CTRParams{CounterBits: p.CounterBits}}
		}
		return s.Session.DecryptInit(ctx, m, key)
	}}},
	{name: "hands out plaintext before the tag is checked", caught: "CRY-07", soft: true, lies: lies{decrypt: func(s *liar, ctx context.Context, data, out []byte) (int, error) {
		n, err := s.Session.Decrypt(ctx, data, out)
		if errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID) {
			out[0] = 1
		}
		return n, err
	}}},
	{name: "takes AES-CBC data that is no whole blocks", caught: "CRY-04", soft: true, lies: lies{encrypt: func(s *liar, ctx context.Context, data, out []byte) (int, error) {
		n, err := s.Session.Encrypt(ctx, data, out)
		return n, forgive(err, pkcs11.CKR_DATA_LEN_RANGE)
	}}},
	{name: "takes wrong padding at the end of parts", caught: "COD-06", soft: true, lies: lies{decryptFinal: func(s *liar, ctx context.Context, out []byte) (int, error) {
		n, err := s.Session.DecryptFinal(ctx, out)
		return n, forgive(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID)
	}}},
	{name: "digests private keys", caught: "COD-07", soft: true, lies: lies{digestKey: func(s *liar, ctx context.Context, key pkcs11.ObjectHandle) error {
		return forgive(s.Session.DigestKey(ctx, key), pkcs11.CKR_KEY_INDIGESTIBLE)
	}}},
	{name: "generates AES keys of 16 bytes whatever the length", caught: "KEY-01", soft: true, lies: lies{generateKey: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		return s.Session.GenerateKey(ctx, m, t.Clone().Set(pkcs11.Attr(pkcs11.CKA_VALUE_LEN, 16)))
	}}},
	{name: "derives the first bytes of a secret", caught: "KEY-04", soft: true, lies: lies{derive: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		return s.Session.DeriveKey(ctx, m, base, drop(t, pkcs11.CKA_VALUE_LEN))
	}}},
	{name: "drops the leading zeros of a derived secret", caught: "KEY-04", soft: true, lies: lies{get: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		if t[0].Type == pkcs11.CKA_VALUE && err == nil {
			t[0].Value = bytes.TrimLeft(t[0].Bytes(), "\x00")
		}
		return err
	}}},
	{name: "derives of points that are not on the curve", caught: "KEY-05", soft: true, lies: lies{derive: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		h, err := s.Session.DeriveKey(ctx, m, base, t)
		return h, forgive(err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}}},
	{name: "unwraps what was changed", caught: "KEY-06", soft: true, lies: lies{unwrap: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, wrapped []byte, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		h, err := s.Session.UnwrapKey(ctx, m, key, wrapped, t)
		return h, forgive(err, pkcs11.CKR_WRAPPED_KEY_INVALID)
	}}},
	{name: "wraps keys that are not extractable", caught: "KEY-07", soft: true, lies: lies{wrap: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, out []byte) (int, error) {
		n, err := s.Session.WrapKey(ctx, m, wrapping, key, out)
		return n, forgive(err, pkcs11.CKR_KEY_UNEXTRACTABLE)
	}}},
	{name: "forgets that an unwrapped key was outside", caught: "KEY-08", soft: true, lies: lies{get: turn(pkcs11.CKA_NEVER_EXTRACTABLE, true)}},
	{name: "wraps sensitive keys under keys that somebody knows", caught: "KEY-11", soft: true, lies: lies{wrap: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, out []byte) (int, error) {
		n, err := s.Session.WrapKey(ctx, m, wrapping, key, out)
		return n, forgive(err, pkcs11.CKR_KEY_NOT_WRAPPABLE)
	}}},
	{name: "unwraps sensitive keys as others", caught: "KEY-11", soft: true, lies: lies{unwrap: func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, wrapped []byte, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		h, err := s.Session.UnwrapKey(ctx, m, key, wrapped, t)
		return h, forgive(err, pkcs11.CKR_TEMPLATE_INCONSISTENT)
	}}},
	{name: "copies without checking the template", caught: "COD-09", lies: lies{copy: func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		c, err := s.Session.CopyObject(ctx, h, t)
		return c, forgive(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID)
	}}},
	{name: "takes the first of two labels", caught: "COD-15", lies: lies{create: func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
		var once pkcs11.Template
		for _, a := range t {
			if !once.Has(a.Type) {
				once = append(once, a)
			}
		}
		return s.Session.CreateObject(ctx, once)
	}}},

	// Drivers.
	{name: "a driver that signs in DER", caught: "FIT-23", driver: func(v *vault) driver.Token { return derVault{v} }},
	{name: "a driver that promises keys and generates none", caught: "MOD-09", driver: func(v *vault) driver.Token { return barrenVault{v, v, v, v, v, v, v} }},
	{name: "a driver that shows a secret in its attributes", caught: "MOD-09", driver: func(v *vault) driver.Token { return leakyVault{v} }},
	{name: "a driver that destroys until the next start only", caught: "FIT-28", driver: func(v *vault) driver.Token { return undeadVault{v, map[string]bool{}} }},
	{name: "a driver that loses labels at a restart", caught: "OBJ-03", driver: func(v *vault) driver.Token {
		for _, o := range v.objects {
			o.attrs = o.attrs.Clone().Set(pkcs11.Attr(pkcs11.CKA_LABEL, "lost"))
		}
		return v
	}},
	{name: "a driver that forgets everything at a restart", caught: "STO-03", driver: func(v *vault) driver.Token { v.objects = nil; return v }},
	{name: "a driver that gives an ID to two objects", caught: "ATT-19", driver: func(v *vault) driver.Token { return twinVault{v} }},
	{name: "a driver that does not persist attribute changes", caught: "OBJ-15", driver: func(v *vault) driver.Token { return rigidVault{v} }},
	{name: "a driver that generates the same key each time", caught: "ATT-07", driver: func(v *vault) driver.Token { return &sameVault{vault: v} }},
}

func remember(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	s.mech, s.key = m, key
	return s.Session.SignInit(ctx, m, key)
}

// turn makes an attribute always read v.
func turn(typ pkcs11.AttributeType, v bool) func(*liar, context.Context, pkcs11.ObjectHandle, pkcs11.Template) error {
	return func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
		err := s.Session.GetAttributeValue(ctx, h, t)
		for i := range t {
			if _, ok := t[i].Value.(bool); ok && t[i].Type == typ {
				t[i].Value = v
			}
		}
		return err
	}
}

func drop(t pkcs11.Template, typ pkcs11.AttributeType) pkcs11.Template {
	var out pkcs11.Template
	for _, a := range t {
		if a.Type != typ {
			out = append(out, a)
		}
	}
	return out
}

// barrenVault is a vault that generates no keys.
type barrenVault struct {
	driver.Token
	driver.Creator
	driver.Destroyer
	driver.RandomReader
	driver.Authenticator
	driver.PINSetter
	driver.Initializer
}

// derVault has keys that sign in DER.
type derVault struct{ *vault }

type derSigner struct{ signer }

func (s derSigner) Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	sig, err := s.signer.Sign(ctx, m, data)
	if err == nil && len(sig) == 64 {
		sig = toDER(sig)[:64]
	}
	return sig, err
}

func (v derVault) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template, replaces []driver.Object) (pub, priv driver.Object, err error) {
	pub, priv, err = v.vault.GenerateKeyPair(ctx, m, public, private, bare(replaces))
	if err == nil {
		priv = derSigner{priv.(signer)}
	}
	return pub, priv, err
}

func (v derVault) CreateObject(ctx context.Context, t pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	o, err := v.vault.CreateObject(ctx, t, bare(replaces))
	if s, ok := o.(signer); ok {
		o = derSigner{s}
	}
	return o, err
}

func (v derVault) Destroy(ctx context.Context, objects ...driver.Object) error {
	return v.vault.Destroy(ctx, bare(objects)...)
}

func bare(objects []driver.Object) []driver.Object {
	out := append([]driver.Object(nil), objects...)
	for i, o := range out {
		if s, ok := o.(derSigner); ok {
			out[i] = s.signer
		}
	}
	return out
}

// leakyVault has an object that shows what nobody may see.
type leakyVault struct{ *vault }

func (v leakyVault) Objects(ctx context.Context) ([]driver.Object, error) {
	list, err := v.vault.Objects(ctx)
	return append(list, &thing{id: "leak", attrs: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)),
		pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)), pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_VALUE, []byte{1})}}), err
}

// undeadVault only hides what it destroys.
type undeadVault struct {
	*vault
	hidden map[string]bool
}

func (v undeadVault) Objects(ctx context.Context) ([]driver.Object, error) {
	list, err := v.vault.Objects(ctx)
	var shown []driver.Object
	for _, o := range list {
		if !v.hidden[o.ID()] {
			shown = append(shown, o)
		}
	}
	return shown, err
}

func (v undeadVault) Destroy(_ context.Context, objects ...driver.Object) error {
	for _, o := range objects {
		v.hidden[o.ID()] = true
	}
	return nil
}

// twinVault has objects that share an ID.
type twinVault struct{ *vault }

func (v twinVault) CreateObject(ctx context.Context, t pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	o, err := v.vault.CreateObject(ctx, t, replaces)
	if err == nil {
		thingOf(o).id = "twin"
	}
	return o, err
}

// rigidVault says that it changed attributes.
type rigidVault struct{ *vault }

func (v rigidVault) Update(_ context.Context, o driver.Object, _ pkcs11.Template) (driver.Object, error) {
	return o, nil
}

// sameVault generates one key.
type sameVault struct {
	*vault
	key *ecdsa.PrivateKey
}

func (v *sameVault) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template, replaces []driver.Object) (pub, priv driver.Object, err error) {
	if v.key == nil {
		pub, priv, err = v.vault.GenerateKeyPair(ctx, m, public, private, replaces)
		if err == nil {
			v.key = priv.(signer).key.(*ecdsa.PrivateKey)
		}
		return pub, priv, err
	}
	if public, err = driver.CompletePublic(public, &v.key.PublicKey); err != nil {
		return nil, nil, err
	}
	if private, err = driver.CompletePrivate(private, &v.key.PublicKey); err != nil {
		return nil, nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(replaces)
	return v.put(public, nil), signer{v.put(private, v.key)}, nil
}

// target is the mutant as the suite opens it.
func (m *mutant) target() conformance.Target {
	disk, store, n := &medium{}, new(pal.Mem), &notes{}
	if m.driver != nil {
		return conformance.Target{Profile: all, Open: func(context.Context) (driver.Token, error) { return m.driver(&vault{medium: disk}), nil }}
	}
	return conformance.Target{Profile: all, OpenModule: func(context.Context) (cryptoki.Module, error) {
		var token driver.Token = &vault{medium: disk}
		if m.soft {
			var err error
			if token, err = soft.New(store, cheap); err != nil {
				return nil, err
			}
		}
		mod, err := cryptoki.NewModule(nil, token)
		if err != nil {
			return nil, err
		}
		return &liarModule{mod, &m.lies, n}, nil
	}}
}

// TestMutants: each case is worth something only if it fails on a module that
// is wrong.
func TestMutants(t *testing.T) {
	t.Logf("%d mutants", len(mutants))
	for i := range mutants {
		m := &mutants[i]
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			found := false
			report, err := conformance.Check(t.Context(), m.target(), &conformance.CheckOptions{Select: func(c conformance.Case) bool {
				found = found || c.ID == m.caught
				return c.ID == m.caught
			}})
			if report == nil {
				t.Fatal(err)
			}
			if !found {
				t.Fatalf("there is no case %s", m.caught)
			}
			if report.Failed != 1 {
				t.Errorf("%s has not caught it: %s", m.caught, report.Outcomes())
			}
		})
	}
}

// TestHonestModule is the control of TestMutants: a module that is wrapped and
// tells no lies passes.
func TestHonestModule(t *testing.T) {
	for name, m := range map[string]mutant{"vault": {}, "soft": {soft: true}} {
		t.Run(name, func(t *testing.T) { conformance.Run(t, m.target()) })
	}
}
