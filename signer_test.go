package cryptoki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha3"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// hashed is the digest of msg, msg itself for hash 0.
func hashed(h crypto.Hash, msg []byte) []byte {
	if h == 0 {
		return msg
	}
	w := h.New()
	w.Write(msg)
	return w.Sum(nil)
}

// One row for each kind of options that Go's signers take: what comes out must
// verify with Go's own verifier, called with the same options.
func TestSignerOptions(t *testing.T) {
	token := newToken(t)
	signers := map[cryptoki.Algorithm]*cryptoki.Signer{}
	for _, alg := range []cryptoki.Algorithm{cryptoki.P256, cryptoki.P384, cryptoki.P521, cryptoki.Ed25519, cryptoki.RSA2048} {
		signers[alg] = generate(t, token, string(alg), alg)
	}
	// A key that may be kept, and that the token does nothing with.
	small := importRSA(t, token, "RSA-1024", 1024)
	signers["RSA-1024"] = small

	ecdsaOK := func(pub crypto.PublicKey, digest, sig []byte, _ crypto.SignerOpts) error {
		if !ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), digest, sig) {
			return errors.New("does not verify")
		}
		return nil
	}
	pkcs1OK := func(pub crypto.PublicKey, digest, sig []byte, opts crypto.SignerOpts) error {
		return rsa.VerifyPKCS1v15(pub.(*rsa.PublicKey), opts.HashFunc(), digest, sig)
	}
	pssOK := func(salt int) func(pub crypto.PublicKey, digest, sig []byte, opts crypto.SignerOpts) error {
		return func(pub crypto.PublicKey, digest, sig []byte, opts crypto.SignerOpts) error {
			return rsa.VerifyPSS(pub.(*rsa.PublicKey), opts.HashFunc(), digest, sig, &rsa.PSSOptions{SaltLength: salt})
		}
	}
	edOK := func(pub crypto.PublicKey, msg, sig []byte, _ crypto.SignerOpts) error {
		if !ed25519.Verify(pub.(ed25519.PublicKey), msg, sig) {
			return errors.New("does not verify")
		}
		return nil
	}
	pss := func(salt int, h crypto.Hash) *rsa.PSSOptions { return &rsa.PSSOptions{SaltLength: salt, Hash: h} }

	tests := []struct {
		alg    cryptoki.Algorithm
		opts   crypto.SignerOpts
		verify func(crypto.PublicKey, []byte, []byte, crypto.SignerOpts) error
		want   error // of Sign, and of SignMessage
		msgErr error // of SignMessage alone
	}{
		{alg: cryptoki.P256, opts: crypto.SHA256, verify: ecdsaOK},
		{alg: cryptoki.P256, opts: crypto.SHA1, verify: ecdsaOK},
		{alg: cryptoki.P256, opts: crypto.SHA384, verify: ecdsaOK}, // longer than the order
		{alg: cryptoki.P256, opts: crypto.SHA512, verify: ecdsaOK},
		{alg: cryptoki.P256, opts: crypto.SHA3_256, verify: ecdsaOK},
		{alg: cryptoki.P256, opts: crypto.Hash(0), verify: ecdsaOK, msgErr: pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{alg: cryptoki.P256, opts: nil, verify: ecdsaOK, msgErr: pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{alg: cryptoki.P384, opts: crypto.SHA256, verify: ecdsaOK},
		{alg: cryptoki.P384, opts: crypto.SHA384, verify: ecdsaOK},
		{alg: cryptoki.P384, opts: crypto.SHA512, verify: ecdsaOK},
		{alg: cryptoki.P521, opts: crypto.SHA256, verify: ecdsaOK},
		{alg: cryptoki.P521, opts: crypto.SHA512, verify: ecdsaOK},

		{alg: cryptoki.Ed25519, opts: crypto.Hash(0), verify: edOK},
		{alg: cryptoki.Ed25519, opts: nil, verify: edOK},
		{alg: cryptoki.Ed25519, opts: &ed25519.Options{}, verify: edOK},
		{alg: cryptoki.Ed25519, opts: &ed25519.Options{Context: "x"}, want: pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{alg: cryptoki.Ed25519, opts: &ed25519.Options{Hash: crypto.SHA512}, want: pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{alg: cryptoki.Ed25519, opts: crypto.SHA512, want: pkcs11.CKR_MECHANISM_PARAM_INVALID},

		{alg: cryptoki.RSA2048, opts: crypto.SHA256, verify: pkcs1OK},
		{alg: cryptoki.RSA2048, opts: crypto.SHA1, verify: pkcs1OK},
		{alg: cryptoki.RSA2048, opts: crypto.SHA384, verify: pkcs1OK},
		{alg: cryptoki.RSA2048, opts: crypto.SHA512, verify: pkcs1OK},
		{alg: cryptoki.RSA2048, opts: crypto.Hash(0), verify: pkcs1OK, msgErr: pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{alg: cryptoki.RSA2048, opts: pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA256), verify: pssOK(32)},
		{alg: cryptoki.RSA2048, opts: pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA384), verify: pssOK(48)},
		{alg: cryptoki.RSA2048, opts: pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA512), verify: pssOK(64)},
		{alg: cryptoki.RSA2048, opts: pss(rsa.PSSSaltLengthAuto, crypto.SHA256), verify: pssOK(256 - 2 - 32)},
		{alg: cryptoki.RSA2048, opts: pss(rsa.PSSSaltLengthAuto, crypto.SHA512), verify: pssOK(256 - 2 - 64)},
		{alg: cryptoki.RSA2048, opts: pss(20, crypto.SHA256), verify: pssOK(20)},
		{alg: cryptoki.RSA2048, opts: pss(222, crypto.SHA256), verify: pssOK(222)},
		{alg: cryptoki.RSA2048, opts: pss(223, crypto.SHA256), want: pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{alg: cryptoki.RSA2048, opts: pss(-7, crypto.SHA256), want: pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{alg: cryptoki.RSA2048, opts: pss(0, 0), want: pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{alg: "RSA-1024", opts: pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA384), want: pkcs11.CKR_KEY_SIZE_RANGE},
		{alg: "RSA-1024", opts: pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA512), want: pkcs11.CKR_MECHANISM_PARAM_INVALID}, // no room for the salt
		{alg: "RSA-1024", opts: crypto.SHA256, want: pkcs11.CKR_KEY_SIZE_RANGE},
	}
	msg := []byte("the message that is signed, or the digest of it")
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s/%T%+v", test.alg, test.opts, test.opts), func(t *testing.T) {
			s := signers[test.alg]
			h := crypto.Hash(0)
			if test.opts != nil {
				h = test.opts.HashFunc()
			}
			digest := hashed(h, msg)
			if test.alg == cryptoki.Ed25519 {
				digest = msg
			}
			opts := test.opts
			sig, err := s.Sign(rand.Reader, digest, opts)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("Sign: error %v, want %v", err, test.want)
			}
			if err == nil {
				if opts == nil {
					opts = crypto.Hash(0)
				}
				if err := test.verify(s.Public(), digest, sig, opts); err != nil {
					t.Errorf("Sign: %v", err)
				}
			}
			want := test.want
			if test.msgErr != nil {
				want = test.msgErr
			}
			sig, err = s.SignMessage(rand.Reader, msg, test.opts)
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Fatalf("SignMessage: error %v, want %v", err, want)
			}
			if err == nil {
				if err := test.verify(s.Public(), digest, sig, opts); err != nil {
					t.Errorf("SignMessage: %v", err)
				}
			}
		})
	}
}

func importRSA(t *testing.T, token *cryptoki.Token, label string, bits int) *cryptoki.Signer {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	if err := token.ImportPrivateKey(t.Context(), label, key); err != nil {
		t.Fatal(err)
	}
	s, err := token.Signer(t.Context(), label)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TLS 1.0 and 1.1 sign 36 bytes of MD5 and SHA-1 without a DigestInfo.
func TestSignMD5SHA1(t *testing.T) {
	s := generate(t, newToken(t), "k", cryptoki.RSA2048)
	digest := make([]byte, 36)
	sig, err := s.Sign(nil, digest, crypto.MD5SHA1)
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(s.Public().(*rsa.PublicKey), crypto.MD5SHA1, digest, sig); err != nil {
		t.Error(err)
	}
}

func TestSignChecksTheDigest(t *testing.T) {
	token := newToken(t)
	for _, alg := range []cryptoki.Algorithm{cryptoki.P256, cryptoki.RSA2048} {
		s := generate(t, token, string(alg), alg)
		_, err := s.Sign(nil, make([]byte, 20), crypto.SHA256)
		if !errors.Is(err, pkcs11.CKR_DATA_LEN_RANGE) || !strings.Contains(err.Error(), "32 bytes, not 20") {
			t.Errorf("%s: error %v", alg, err)
		}
	}
}

// Tokens need not take more than the order has bits: the rest is cut off here.
func TestLongDigestsAreCut(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false), mostData: 32}
	s := generate(t, setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)}), "k", cryptoki.P256)
	long := sha512.Sum512([]byte("message"))
	sig, err := s.Sign(nil, long[:], crypto.SHA512)
	if err != nil || !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), long[:], sig) {
		t.Errorf("signature %x, error %v", sig, err)
	}
}

// ECDSA signatures whose r or s is short, or has its top bit set, are DER all
// the same.
func TestSignaturesAreDER(t *testing.T) {
	s := generate(t, newToken(t), "k", cryptoki.P256)
	lengths := map[int]int{}
	for i := range 600 {
		digest := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		sig, err := s.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest[:], sig) {
			t.Fatalf("signature %x does not verify", sig)
		}
		lengths[len(sig)]++
	}
	if len(lengths) < 3 {
		t.Errorf("lengths of 600 signatures: %v; want 70, 71 and 72 at least", lengths)
	}
}

// A token that can only hash and sign in one still signs messages: for TLS.
func TestSignMessageWithHashingMechanismsOnly(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false), without: []pkcs11.MechanismType{
		pkcs11.CKM_ECDSA, pkcs11.CKM_RSA_PKCS, pkcs11.CKM_RSA_PKCS_PSS}}
	token := tokenOf(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	if err := token.Initialize(t.Context(), cryptoki.Setup{Label: "x", SOPIN: soPIN, UserPIN: userPIN}); err != nil {
		t.Fatal(err)
	}
	msg := []byte("message")
	digest := sha256.Sum256(msg)

	s := generate(t, token, "ec", cryptoki.P256)
	if _, err := s.Sign(nil, digest[:], crypto.SHA256); !errors.Is(err, pkcs11.CKR_MECHANISM_INVALID) {
		t.Errorf("Sign: error %v", err)
	}
	sig, err := s.SignMessage(nil, msg, crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest[:], sig) {
		t.Errorf("ECDSA: signature %x, error %v", sig, err)
	}
	s = generate(t, token, "rsa", cryptoki.RSA2048)
	sig, err = s.SignMessage(nil, msg, crypto.SHA256)
	if err != nil || rsa.VerifyPKCS1v15(s.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], sig) != nil {
		t.Errorf("RSA: signature %x, error %v", sig, err)
	}
	opts := &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}
	sig, err = s.SignMessage(nil, msg, opts)
	if err != nil || rsa.VerifyPSS(s.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], sig, opts) != nil {
		t.Errorf("PSS: signature %x, error %v", sig, err)
	}
}

func TestSignerRefusesKeysThatMayNotSign(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	s, err := token.Session(ctx, pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")), pkcs11.Attr(pkcs11.CKA_TOKEN, true)},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "dh"), pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_DERIVE, true), pkcs11.Attr(pkcs11.CKA_SIGN, false)}); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Signer(ctx, "dh"); !errors.Is(err, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED) || !strings.Contains(err.Error(), `private key "dh"`) {
		t.Errorf("error %v", err)
	}
	if _, err := token.Decrypter(ctx, "dh"); !errors.Is(err, pkcs11.CKR_KEY_TYPE_INCONSISTENT) {
		t.Errorf("Decrypter: error %v", err)
	}
}

func TestDecrypter(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	if _, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: "k", Algorithm: cryptoki.RSA2048, Decrypt: true}); err != nil {
		t.Fatal(err)
	}
	d, err := token.Decrypter(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	pub := d.Public().(*rsa.PublicKey)
	msg := []byte("sixteen bytes ok")

	pkcs1, err := rsa.EncryptPKCS1v15(rand.Reader, pub, msg)
	if err != nil {
		t.Fatal(err)
	}
	oaep, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, msg, []byte("label"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		msg  []byte
		opts crypto.DecrypterOpts
	}{
		{"no options", pkcs1, nil},
		{"PKCS1v15", pkcs1, &rsa.PKCS1v15DecryptOptions{}},
		{"a session key", pkcs1, &rsa.PKCS1v15DecryptOptions{SessionKeyLen: len(msg)}},
		{"OAEP", oaep, &rsa.OAEPOptions{Hash: crypto.SHA256, Label: []byte("label")}},
	} {
		got, err := d.Decrypt(rand.Reader, test.msg, test.opts)
		if err != nil || !bytes.Equal(got, msg) {
			t.Errorf("%s: %q, error %v", test.name, got, err)
		}
	}

	if _, err := d.Decrypt(rand.Reader, oaep, &rsa.OAEPOptions{Hash: crypto.SHA256}); !errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID) {
		t.Errorf("OAEP with another label: error %v", err)
	}
	// What OAEP pads may by chance be padded for PKCS #1, too; this never is.
	bad, err := keys.Encrypt(pub, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}, append([]byte{0, 2}, bytes.Repeat([]byte{7}, 254)...))
	if err != nil {
		t.Fatal(err)
	}
	// With a session key nobody learns whether the padding was right.
	for name, opts := range map[string]*rsa.PKCS1v15DecryptOptions{"of another length": {SessionKeyLen: 32}, "badly padded": {SessionKeyLen: 16}} {
		in := pkcs1
		if name == "badly padded" {
			in = bad
		}
		a, err := d.Decrypt(rand.Reader, in, opts)
		b, err2 := d.Decrypt(rand.Reader, in, opts)
		if err != nil || err2 != nil || len(a) != opts.SessionKeyLen || bytes.Equal(a, b) {
			t.Errorf("a session key %s: %x and %x, errors %v, %v; want two random ones", name, a, b, err, err2)
		}
	}
}

func TestVerifyCode(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	image := bytes.Repeat([]byte("firmware"), 1000)
	root := newAuthority(t, "root", nil)

	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	sum256, sum384, sum512 := sha256.Sum256(image), sha512.Sum384(image), sha512.Sum512(image)

	for _, test := range []struct {
		name   string
		key    crypto.Signer
		digest []byte
		opts   crypto.SignerOpts
		cert   bool
	}{
		{"P-256", p256, sum256[:], crypto.SHA256, false},
		{"P-256 in a certificate", p256, sum256[:], crypto.SHA256, true},
		{"P-384", p384, sum384[:], crypto.SHA384, false},
		{"P-521", p521, sum512[:], crypto.SHA512, false},
		{"Ed25519", ed, image, crypto.Hash(0), false},
		{"RSA", rsaKey, sum256[:], crypto.SHA256, false},
		{"RSA-PSS in a certificate", rsaKey, sum256[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			old, err := token.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, cryptoki.CodeVerifyKey)})
			if err != nil {
				t.Fatal(err)
			}
			if err := token.Destroy(ctx, old...); err != nil {
				t.Fatal(err)
			}
			if test.cert {
				err = token.ImportCertificate(ctx, cryptoki.CodeVerifyKey, root.issue(t, "signer", test.key.Public()))
			} else {
				err = token.ImportPublicKey(ctx, cryptoki.CodeVerifyKey, test.key.Public())
			}
			if err != nil {
				t.Fatal(err)
			}
			sig, err := test.key.Sign(rand.Reader, test.digest, test.opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := token.VerifyCode(ctx, cryptoki.CodeVerifyKey, bytes.NewReader(image), sig); err != nil {
				t.Error(err)
			}
			bad := bytes.Clone(image)
			bad[7] ^= 1
			if err := token.VerifyCode(ctx, cryptoki.CodeVerifyKey, bytes.NewReader(bad), sig); !errors.Is(err, pkcs11.CKR_SIGNATURE_INVALID) {
				t.Errorf("another image: error %v", err)
			}
			sig[len(sig)-1] ^= 1
			if err := token.VerifyCode(ctx, cryptoki.CodeVerifyKey, bytes.NewReader(image), sig); !errors.Is(err, pkcs11.CKR_SIGNATURE_INVALID) {
				t.Errorf("another signature: error %v", err)
			}
			if err := token.VerifyCode(ctx, cryptoki.CodeVerifyKey, io.LimitReader(failingReader{}, 10), sig); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("an image that cannot be read: error %v", err)
			}
		})
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
