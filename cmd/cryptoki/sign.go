package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// maxMessage is the longest file in bytes that an Ed25519 key signs: it signs
// the message itself, which must be in memory.
const maxMessage = 256 << 20

const signatureFormat = `The digest is SHA-256; SHA-384 for P-384 and SHA-512 for P-521; an Ed25519 key
signs the file itself. ECDSA signatures are DER (--raw: r‖s), RSA ones PKCS #1
v1.5 (--pss: PSS, the salt as long as the digest). openssl dgst does the same.`

var signCommand = command{
	name:    "sign",
	args:    "LABEL FILE",
	summary: "sign a file with a private key",
	about:   signatureFormat + " FILE is - for\nstandard input.",
	pins:    wantUser,
	example: []example{
		{"", `cryptoki sign "Device Priv TLS Key" report.json -o report.sig`},
		{"check it with openssl", `cryptoki export public-key "Device Priv TLS Key" -o key.pub
openssl dgst -sha256 -verify key.pub -signature report.sig report.json`},
		{"for a JWT (ES256)", `printf %s "$header.$payload" | cryptoki sign "Device Priv TLS Key" - --raw --base64url`},
	},
	flags: func(o *options) runFunc {
		var s signature
		s.flags(o)
		var out string
		o.str(&out, "out,o", "FILE", "write to FILE instead of standard output")
		return func(ctx context.Context, a *app, args []string) error {
			return a.sign(ctx, args[0], args[1], out, s)
		}
	},
}

var verifyCommand = command{
	name:    "verify",
	args:    "LABEL FILE",
	summary: "verify the signature of a file",
	about: signatureFormat + ` LABEL is
that of a public key, a certificate or a private key. The exit status is 0 for a
valid signature and 1 otherwise.

Public keys and certificates can be read without the PIN. But only a software token or
a TPM that is logged in knows that the key is the one that was installed, and not one
that somebody has put into its directory: give the PIN where that matters.`,
	pins: wantUser,
	json: []field{{"valid", "true; an invalid signature is an error"}, {"key", "type of the key"}},
	example: []example{
		{"an update", `cryptoki verify "Code Verify Key" firmware.bin --signature firmware.sig --pin-file user.pin && install-firmware`},
	},
	flags: func(o *options) runFunc {
		var s signature
		var sig string
		o.str(&sig, "signature,s", "FILE", "the signature")
		s.flags(o)
		return func(ctx context.Context, a *app, args []string) error {
			return a.verify(ctx, args[0], args[1], sig, s)
		}
	},
}

// A signature is how a signature is made and written.
type signature struct {
	hash             string
	raw, pss         bool
	hex, b64, b64url bool
}

var hashes = []struct {
	name string
	hash crypto.Hash
}{
	{"sha256", crypto.SHA256}, {"sha384", crypto.SHA384}, {"sha512", crypto.SHA512},
	{"sha224", crypto.SHA224}, {"sha512-256", crypto.SHA512_256},
}

func (s *signature) flags(o *options) {
	var names []string
	for _, h := range hashes {
		names = append(names, h.name)
	}
	o.choice(&s.hash, "hash", names, "digest function")
	o.flag(&s.raw, "raw", "an ECDSA signature is r‖s, not DER")
	o.flag(&s.pss, "pss", "an RSA signature is PSS, not PKCS #1 v1.5")
	o.flag(&s.hex, "hex", "the signature is written in hexadecimal")
	o.flag(&s.b64, "base64", "the signature is written in base64")
	o.flag(&s.b64url, "base64url", "the signature is written in base64url without padding")
}

// options returns the digest function for the key, 0 if it signs messages, and
// checks that the flags suit it.
func (s signature) options(pub crypto.PublicKey) (crypto.SignerOpts, error) {
	var h crypto.Hash
	for _, x := range hashes {
		if x.name == s.hash {
			h = x.hash
		}
	}
	_, ec := pub.(*ecdsa.PublicKey)
	_, isRSA := pub.(*rsa.PublicKey)
	switch {
	case s.raw && !ec:
		return nil, usagef("--raw is for ECDSA; this is a key of type %s", keyName(pub))
	case s.pss && !isRSA:
		return nil, usagef("--pss is for RSA; this is a key of type %s", keyName(pub))
	}
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		if h != 0 {
			return nil, usagef("--hash is not for Ed25519, which signs the file itself")
		}
		return crypto.Hash(0), nil
	case *ecdsa.PublicKey:
		if h == 0 {
			switch bits := pub.Curve.Params().BitSize; {
			case bits > 384:
				h = crypto.SHA512
			case bits > 256:
				h = crypto.SHA384
			default:
				h = crypto.SHA256
			}
		}
	default:
		if h == 0 {
			h = crypto.SHA256
		}
	}
	if s.pss {
		return &rsa.PSSOptions{Hash: h, SaltLength: rsa.PSSSaltLengthEqualsHash}, nil
	}
	return h, nil
}

// input returns what is signed: the digest of the file, or the file.
func (a *app) input(path string, opts crypto.SignerOpts) ([]byte, error) {
	h := opts.HashFunc()
	if h == 0 {
		return a.readInput(path, maxMessage)
	}
	f, err := a.openInput(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stop := a.progress("reading " + fileName(path))
	defer stop()
	w := h.New()
	if _, err := io.Copy(w, f); err != nil {
		return nil, fmt.Errorf("%s: %w", fileName(path), cause(err))
	}
	return w.Sum(nil), nil
}

// text says how many of the ways to write bytes are asked for.
func (s signature) text() (int, error) {
	n := 0
	for _, b := range []bool{s.hex, s.b64, s.b64url} {
		if b {
			n++
		}
	}
	if n > 1 {
		return n, usagef("--hex, --base64 and --base64url: only one of them")
	}
	return n, nil
}

func (s signature) encode(b []byte) []byte {
	switch {
	case s.hex:
		return append(hex.AppendEncode(nil, b), '\n')
	case s.b64:
		return append(base64.StdEncoding.AppendEncode(nil, b), '\n')
	case s.b64url:
		return append(base64.RawURLEncoding.AppendEncode(nil, b), '\n')
	}
	return b
}

func (s signature) decode(b []byte) ([]byte, error) {
	text := strings.Join(strings.Fields(string(b)), "")
	switch {
	case s.hex:
		return hex.DecodeString(text)
	case s.b64:
		return base64.StdEncoding.DecodeString(text)
	case s.b64url:
		return base64.RawURLEncoding.DecodeString(text)
	}
	return b, nil
}

func (a *app) sign(ctx context.Context, name, path, out string, s signature) error {
	if err := a.name(name); err != nil {
		return err
	}
	text, err := s.text()
	if err != nil {
		return err
	}
	if text == 0 && out == "" && isTerminal(a.stdout) {
		return usagef("sign: a signature is binary and does not go to a terminal: -o FILE, --hex or --base64")
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		signer, err := t.Signer(ctx, name)
		if err != nil {
			return err
		}
		opts, err := s.options(signer.Public())
		if err != nil {
			return err
		}
		in, err := a.input(path, opts)
		if err != nil {
			return err
		}
		stop := a.progress("signing")
		sig, err := signer.Sign(nil, in, opts)
		stop()
		if err != nil {
			return err
		}
		if pub, ok := signer.Public().(*ecdsa.PublicKey); ok && s.raw {
			raw := make([]byte, rawSize(pub))
			if err := keys.RawSignature(raw, sig); err != nil {
				return err
			}
			sig = raw
		}
		return a.writeOutput(out, s.encode(sig), 0o644)
	})
}

// rawSize is how long a signature r‖s is: both as long as the order.
func rawSize(pub *ecdsa.PublicKey) int { return 2 * ((pub.Curve.Params().N.BitLen() + 7) / 8) }

func (a *app) verify(ctx context.Context, name, path, sigPath string, s signature) error {
	if err := a.name(name); err != nil {
		return err
	}
	if sigPath == "" {
		return usagef("verify: --signature FILE is missing")
	}
	if _, err := s.text(); err != nil {
		return err
	}
	if path == "-" && sigPath == "-" {
		return usagef("verify: only one of file and signature is standard input")
	}
	return a.with(ctx, mayLogin, func(t *cryptoki.Token) error {
		pub, err := t.PublicKey(ctx, name)
		if err != nil {
			return err
		}
		opts, err := s.options(pub)
		if err != nil {
			return err
		}
		data, err := a.readInput(sigPath, 64<<10)
		if err != nil {
			return err
		}
		sig, err := s.decode(data)
		if err != nil {
			return fmt.Errorf("%s: the signature is not written as the flags say: %w", fileName(sigPath), err)
		}
		if ec, ok := pub.(*ecdsa.PublicKey); ok && s.raw {
			if len(sig) != rawSize(ec) {
				return fmt.Errorf("%s: a signature r‖s by a key on %s has %d bytes, not %d: %w", fileName(sigPath), keyName(pub), rawSize(ec), len(sig), pkcs11.CKR_SIGNATURE_LEN_RANGE)
			}
			if sig, err = keys.AppendDER(nil, sig); err != nil {
				return fmt.Errorf("%s: %w", fileName(sigPath), err)
			}
		}
		in, err := a.input(path, opts)
		if err != nil {
			return err
		}
		if !valid(pub, in, sig, opts) {
			return fmt.Errorf("%s: the signature in %s is NOT valid for key %q (%s): %w", fileName(path), fileName(sigPath), name, keyName(pub), pkcs11.CKR_SIGNATURE_INVALID)
		}
		if a.json {
			return a.printJSON(struct {
				Valid bool   `json:"valid"`
				Key   string `json:"key"`
			}{true, keyName(pub)})
		}
		return a.printf("%s: the signature is valid\n", fileName(path))
	})
}

// valid verifies a signature of a digest, or of a message for Ed25519.
func valid(pub crypto.PublicKey, in, sig []byte, opts crypto.SignerOpts) bool {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, in, sig)
	case ed25519.PublicKey:
		return ed25519.Verify(pub, in, sig)
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(pub, pss.Hash, in, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
		}
		return rsa.VerifyPKCS1v15(pub, opts.HashFunc(), in, sig) == nil
	}
	return false
}
