//go:build cgo && linux

package crypto11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/interop/internal/tokens"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A bench is what the tests of one version with one token share.
type bench[S signer, D decrypter, K secret, C any] struct {
	tok *tokens.Token
	lib library[S, D, K, C]
}

func run[S signer, D decrypter, K secret, C any](t *testing.T, tok *tokens.Token, lib library[S, D, K, C]) {
	tok.Use(t)
	b := bench[S, D, K, C]{tok, lib}
	t.Run("wrong PIN", b.wrongPIN)
	t.Run("key pairs", b.keyPairs)
	t.Run("other curve", b.otherCurve)
	t.Run("RSA", b.rsa)
	t.Run("AES-GCM", b.gcm)
	t.Run("certificates", b.certificates)
	t.Run("TLS", b.tls)
	t.Run("16 goroutines", b.goroutines)
	t.Run("close and reopen", b.reopen)
	t.Run("random", b.random)
}

func (b *bench[S, D, K, C]) open(t *testing.T) provider[S, D, K, C] {
	t.Helper()
	p, err := b.lib.configure(b.tok, tokens.PIN)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// gap checks that what a token cannot do is refused with a code, and says why.
func (b *bench[S, D, K, C]) gap(t *testing.T, what, code string, do func() error) bool {
	t.Helper()
	why := b.tok.Lacks[what]
	if why == "" {
		return false
	}
	t.Log("gap: " + why)
	require.ErrorContains(t, do(), code)
	return true
}

// pair generates a P-256 pair for the test.
func (b *bench[S, D, K, C]) pair(t *testing.T, p provider[S, D, K, C], id, label string) S {
	t.Helper()
	s, err := p.GenerateECDSAKeyPairWithLabel([]byte(id), []byte(label), elliptic.P256())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Delete()) })
	return s
}

var message = sha256.Sum256([]byte("what is signed"))

func verify(t require.TestingT, pub crypto.PublicKey, sig []byte) {
	require.True(t, ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), message[:], sig))
}

func (b *bench[S, D, K, C]) wrongPIN(t *testing.T) {
	if b.tok.Lacks["login"] != "" {
		return
	}
	_, err := b.lib.configure(b.tok, "00000000")
	require.ErrorContains(t, err, "CKR_PIN_INCORRECT")
}

func (b *bench[S, D, K, C]) keyPairs(t *testing.T) {
	p := b.open(t)
	b.finds(t, p, "nobody", false)
	before, err := p.FindAllKeyPairs()
	require.NoError(t, err)

	made, err := p.GenerateECDSAKeyPairWithLabel([]byte{1}, []byte("one"), elliptic.P256())
	require.NoError(t, err)
	for name, by := range map[string][2][]byte{"label": {nil, []byte("one")}, "id": {{1}, nil}, "both": {{1}, []byte("one")}} {
		found, err := p.FindKeyPair(by[0], by[1])
		require.NoError(t, err, name)
		require.NotNil(t, found, name)
		require.Equal(t, made.Public(), found.Public(), name)
		sig, err := found.Sign(rand.Reader, message[:], crypto.SHA256)
		require.NoError(t, err, name)
		verify(t, made.Public(), sig)
	}
	b.pair(t, p, "\x02", "two")
	all, err := p.FindAllKeyPairs()
	require.NoError(t, err)
	require.Len(t, all, len(before)+2)
	require.NoError(t, made.Delete())
	b.finds(t, p, "one", false)
	b.finds(t, p, "two", true)
}

// finds checks whether there is a key pair of that label. Without one, v1.2.5
// returns nil, and v1.5.0 an error.
func (b *bench[S, D, K, C]) finds(t *testing.T, p provider[S, D, K, C], label string, want bool) {
	t.Helper()
	found, err := p.FindKeyPair(nil, []byte(label))
	if want || err == nil {
		require.NoError(t, err)
		require.Equal(t, want, any(found) != nil)
		return
	}
	require.ErrorContains(t, err, "was not found")
}

func (b *bench[S, D, K, C]) otherCurve(t *testing.T) {
	p := b.open(t)
	// The library does not know the name of CKR_CURVE_NOT_SUPPORTED.
	if b.gap(t, "P-384", "0x140", func() error {
		_, err := p.GenerateECDSAKeyPairWithLabel([]byte{3}, []byte("three"), elliptic.P384())
		return err
	}) {
		return
	}
	s, err := p.GenerateECDSAKeyPairWithLabel([]byte{3}, []byte("three"), elliptic.P384())
	require.NoError(t, err)
	sig, err := s.Sign(rand.Reader, message[:], crypto.SHA256)
	require.NoError(t, err)
	verify(t, s.Public(), sig)
	require.NoError(t, s.Delete())
}

func (b *bench[S, D, K, C]) rsa(t *testing.T) {
	p := b.open(t)
	if b.gap(t, "RSA", "CKR_MECHANISM_INVALID", func() error {
		_, err := p.GenerateRSAKeyPairWithLabel([]byte{4}, []byte("four"), 2048)
		return err
	}) {
		return
	}
	made, err := p.GenerateRSAKeyPairWithLabel([]byte{4}, []byte("four"), 2048)
	require.NoError(t, err)
	defer func() { require.NoError(t, made.Delete()) }()
	found, err := p.FindKeyPair(nil, []byte("four"))
	require.NoError(t, err)
	pub := made.Public().(*rsa.PublicKey)
	require.True(t, pub.Equal(found.Public()))

	sig, err := found.Sign(rand.Reader, message[:], crypto.SHA256)
	require.NoError(t, err)
	require.NoError(t, rsa.VerifyPKCS1v15(pub, crypto.SHA256, message[:], sig))

	sig, err = found.Sign(rand.Reader, message[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	require.NoError(t, err)
	require.NoError(t, rsa.VerifyPSS(pub, crypto.SHA256, message[:], sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))

	dec, ok := any(found).(crypto.Decrypter)
	require.True(t, ok)
	plain := []byte("a session key")
	sealed, err := rsa.EncryptPKCS1v15(rand.Reader, pub, plain)
	require.NoError(t, err)
	got, err := dec.Decrypt(rand.Reader, sealed, nil)
	require.NoError(t, err)
	require.Equal(t, plain, got)

	// SoftHSM2 2.6 has OAEP with SHA-1 only.
	sealed, err = rsa.EncryptOAEP(crypto.SHA1.New(), rand.Reader, pub, plain, nil)
	require.NoError(t, err)
	got, err = dec.Decrypt(rand.Reader, sealed, &rsa.OAEPOptions{Hash: crypto.SHA1})
	require.NoError(t, err)
	require.Equal(t, plain, got)
	sealed[0] ^= 1
	_, err = dec.Decrypt(rand.Reader, sealed, &rsa.OAEPOptions{Hash: crypto.SHA1})
	require.Error(t, err)
}

func (b *bench[S, D, K, C]) gcm(t *testing.T) {
	p := b.open(t)
	if b.gap(t, "AES", "CKR_", func() error {
		_, err := p.GenerateSecretKeyWithLabel([]byte{5}, []byte("five"), 256, b.lib.aes)
		return err
	}) {
		return
	}
	made, err := p.GenerateSecretKeyWithLabel([]byte{5}, []byte("five"), 256, b.lib.aes)
	require.NoError(t, err)
	defer func() { require.NoError(t, made.Delete()) }()
	found, err := p.FindKey(nil, []byte("five"))
	require.NoError(t, err)
	require.NotZero(t, found)
	aead, err := found.NewGCM()
	require.NoError(t, err)
	nonce := make([]byte, aead.NonceSize())
	probe := func() error { _, err := aead.Open(nil, nonce, make([]byte, 32), nil); return err }
	if b.gap(t, "GCM", "CKR_MECHANISM_INVALID", probe) {
		return
	}
	if err := probe(); strings.Contains(err.Error(), "CKR_MECHANISM_INVALID") {
		t.Log("gap: p11-kit before 0.25 does not pass on CKM_AES_GCM; Go programs have it through the same socket")
		b.gcmWithoutP11Kit(t)
		return
	}
	sealed := aead.Seal(nil, nonce, []byte("plain"), []byte("beside"))
	plain, err := aead.Open(nil, nonce, sealed, []byte("beside"))
	require.NoError(t, err)
	require.Equal(t, "plain", string(plain))
	_, err = aead.Open(nil, nonce, sealed, []byte("another"))
	require.Error(t, err)
}

// gcmWithoutP11Kit shows that the token is not what is in the way.
func (b *bench[S, D, K, C]) gcmWithoutP11Kit(t *testing.T) {
	ctx := t.Context()
	require.NotEmpty(t, b.tok.Socket, "nothing is between the token and the program")
	token := b.tok.Open(ctx, t, &cryptoki.Options{PIN: pin})
	defer token.Close()
	keys, err := token.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "five")})
	require.NoError(t, err)
	require.Len(t, keys, 1)
	s, err := token.Session(ctx, 0)
	require.NoError(t, err)
	defer s.Close()
	gcm := &pkcs11.Mechanism{Type: pkcs11.CKM_AES_GCM, Params: &pkcs11.GCMParams{IV: make([]byte, 12), TagBits: 128}}
	require.NoError(t, s.EncryptInit(ctx, gcm, keys[0].Handle))
	sealed := make([]byte, 100)
	n, err := s.Encrypt(ctx, []byte("plain"), sealed)
	require.NoError(t, err)
	require.NoError(t, s.DecryptInit(ctx, gcm, keys[0].Handle))
	plain := make([]byte, 100)
	m, err := s.Decrypt(ctx, sealed[:n], plain)
	require.NoError(t, err)
	require.Equal(t, "plain", string(plain[:m]))
}

func pin(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
	return []byte(tokens.PIN), nil
}

// issue returns a certificate of the signer's key, made by itself.
func issue(t *testing.T, s crypto.Signer, name string, serial int64) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, s.Public(), s)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, cert.CheckSignatureFrom(cert))
	return cert
}

func (b *bench[S, D, K, C]) certificates(t *testing.T) {
	p := b.open(t)
	s := b.pair(t, p, "\x06", "six")
	cert := issue(t, s, "device", 4711)
	require.NoError(t, p.ImportCertificateWithLabel([]byte{6}, []byte("six"), cert))
	for name, find := range map[string]func() (*x509.Certificate, error){
		"id":     func() (*x509.Certificate, error) { return p.FindCertificate([]byte{6}, nil, nil) },
		"label":  func() (*x509.Certificate, error) { return p.FindCertificate(nil, []byte("six"), nil) },
		"serial": func() (*x509.Certificate, error) { return p.FindCertificate(nil, nil, big.NewInt(4711)) },
	} {
		got, err := find()
		require.NoError(t, err, name)
		require.NotNil(t, got, name)
		require.True(t, cert.Equal(got), name)
	}
	pairs, err := p.FindAllPairedCertificates()
	require.NoError(t, err)
	require.Len(t, pairs, 1)
	require.Equal(t, cert.Raw, pairs[0].Certificate[0])
	require.NoError(t, p.DeleteCertificate([]byte{6}, nil, nil))
	gone, err := p.FindCertificate([]byte{6}, nil, nil)
	if err != nil {
		require.ErrorContains(t, err, "not found")
	}
	require.Nil(t, gone)
}

// A client that shows the certificate of a key in the token.
func (b *bench[S, D, K, C]) tls(t *testing.T) {
	p := b.open(t)
	s := b.pair(t, p, "\x07", "seven")
	device := issue(t, s, "device", 1)
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	server := issue(t, serverKey, "localhost", 2)
	roots := x509.NewCertPool()
	roots.AddCert(device)
	roots.AddCert(server)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		here, there := net.Pipe()
		deadline := time.Now().Add(time.Minute)
		require.NoError(t, here.SetDeadline(deadline))
		require.NoError(t, there.SetDeadline(deadline))
		c := tls.Client(here, &tls.Config{RootCAs: roots, ServerName: "localhost", MaxVersion: version,
			Certificates: []tls.Certificate{{Certificate: [][]byte{device.Raw}, PrivateKey: s}}})
		d := tls.Server(there, &tls.Config{ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
			Certificates: []tls.Certificate{{Certificate: [][]byte{server.Raw}, PrivateKey: serverKey}}})
		done := make(chan error, 1)
		go func() {
			_, err := io.WriteString(d, "welcome")
			done <- err
		}()
		got := make([]byte, 7)
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		require.NoError(t, <-done)
		require.Equal(t, "welcome", string(got))
		require.Equal(t, version, d.ConnectionState().Version)
		require.Equal(t, "device", d.ConnectionState().PeerCertificates[0].Subject.CommonName)
		here.Close()
		there.Close()
	}
}

func (b *bench[S, D, K, C]) goroutines(t *testing.T) {
	p := b.open(t)
	s := b.pair(t, p, "\x08", "eight")
	each := 25
	if b.tok.Name == "ATECC608" || testing.Short() {
		each = 4
	}
	errs := make([]error, 16)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for n := range each {
				digest := sha256.Sum256(fmt.Append(nil, i, n))
				sig, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
				if err != nil {
					errs[i] = err
					return
				}
				if !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest[:], sig) {
					errs[i] = fmt.Errorf("signature %d does not verify", n)
					return
				}
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

func (b *bench[S, D, K, C]) reopen(t *testing.T) {
	p, err := b.lib.configure(b.tok, tokens.PIN)
	require.NoError(t, err)
	s, err := p.GenerateECDSAKeyPairWithLabel([]byte{9}, []byte("nine"), elliptic.P256())
	require.NoError(t, err)
	pub := s.Public()
	require.NoError(t, p.Close())
	_, err = s.Sign(rand.Reader, message[:], crypto.SHA256)
	require.Error(t, err, "a key of a context that is closed")
	for n := range 3 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			found, err := b.open(t).FindKeyPair([]byte{9}, nil)
			require.NoError(t, err)
			require.NotNil(t, found)
			sig, err := found.Sign(rand.Reader, message[:], crypto.SHA256)
			require.NoError(t, err)
			verify(t, pub, sig)
		})
	}
	p = b.open(t)
	s, err = p.FindKeyPair([]byte{9}, nil)
	require.NoError(t, err)
	require.NoError(t, s.Delete())
}

func (b *bench[S, D, K, C]) random(t *testing.T) {
	r, err := b.open(t).NewRandomReader()
	require.NoError(t, err)
	one, two := make([]byte, 100), make([]byte, 100)
	_, err = io.ReadFull(r, one)
	require.NoError(t, err)
	_, err = io.ReadFull(r, two)
	require.NoError(t, err)
	require.False(t, bytes.Equal(one, two))
	require.NotContains(t, string(one), string(make([]byte, 8)))
}
