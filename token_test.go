package cryptoki_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	soPIN   = []byte("87654321")
	userPIN = []byte("12345678")
)

// pinOf answers with a copy of pin.
func pinOf(pin []byte) cryptoki.PINFunc {
	return func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) { return bytes.Clone(pin), nil }
}

// newModule returns the core over a software token in memory, with cheap PINs.
func newModule(t testing.TB, store pal.Store, noPIN bool) cryptoki.Module {
	t.Helper()
	token, err := soft.New(store, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}, NoPIN: noPIN})
	if err != nil {
		t.Fatal(err)
	}
	return moduleOver(t, token)
}

func moduleOver(t testing.TB, token driver.Token) cryptoki.Module {
	t.Helper()
	m, err := cryptoki.NewModule(nil, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func tokenOf(t testing.TB, m cryptoki.Module, opts *cryptoki.Options) *cryptoki.Token {
	t.Helper()
	token, err := cryptoki.NewToken(t.Context(), m, 1, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { token.Close() })
	return token
}

// newToken returns an initialized token with PINs.
func newToken(t testing.TB) *cryptoki.Token {
	t.Helper()
	token := tokenOf(t, newModule(t, &pal.Mem{}, false), &cryptoki.Options{PIN: pinOf(userPIN)})
	if err := token.Initialize(t.Context(), cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}); err != nil {
		t.Fatal(err)
	}
	return token
}

func generate(t testing.TB, token *cryptoki.Token, label string, alg cryptoki.Algorithm) *cryptoki.Signer {
	t.Helper()
	s, err := token.GenerateKey(t.Context(), cryptoki.KeySpec{Label: label, Algorithm: alg})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serial = big.NewInt(1)

func newAuthority(t testing.TB, name string, parent *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	if parent == nil {
		parent = a
	}
	serial = new(big.Int).Add(serial, big.NewInt(1))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	issuer := parent.cert
	if issuer == nil {
		issuer = template
	}
	a.cert = sign(t, template, issuer, key.Public(), parent.key)
	return a
}

func sign(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) issue(t testing.TB, name string, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	serial = new(big.Int).Add(serial, big.NewInt(1))
	return sign(t, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}, a.cert, pub, a.key)
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// The story of a gateway: a key, a request, a certificate with its chain, and a
// mutual TLS connection; then another process with the same store.
func TestFirstConnection(t *testing.T) {
	for _, alg := range cryptoki.Algorithms() {
		if strings.HasPrefix(string(alg), "RSA") && alg != cryptoki.RSA2048 {
			continue // the same code, only slower
		}
		t.Run(string(alg), func(t *testing.T) {
			store := &pal.Mem{}
			m := newModule(t, store, false)
			token := tokenOf(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
			ctx := t.Context()
			if err := token.Initialize(ctx, cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}); err != nil {
				t.Fatal(err)
			}
			if _, err := token.GenerateKey(ctx, cryptoki.KeySpec{
				Label: cryptoki.DevicePrivateKey, PublicLabel: cryptoki.DevicePublicKey, Algorithm: alg}); err != nil {
				t.Fatal(err)
			}
			root := newAuthority(t, "root", nil)
			inter := newAuthority(t, "intermediate", root)

			der, err := token.CertificateRequest(ctx, cryptoki.DevicePrivateKey, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "gw-1"}})
			if err != nil {
				t.Fatal(err)
			}
			csr, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			if err := csr.CheckSignature(); err != nil {
				t.Fatal(err)
			}
			for label, cert := range map[string]*x509.Certificate{
				cryptoki.DeviceCert: inter.issue(t, "gw-1", csr.PublicKey), cryptoki.RootCert: root.cert, "issuer": inter.cert,
			} {
				if err := token.ImportCertificate(ctx, label, cert); err != nil {
					t.Fatal(err)
				}
			}
			token.Close()
			m.Close()

			token = tokenOf(t, newModule(t, store, false), &cryptoki.Options{PIN: pinOf(userPIN)})
			cert, err := token.TLSCertificate(ctx, cryptoki.DeviceCert, cryptoki.DevicePrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			if len(cert.Certificate) != 2 || !bytes.Equal(cert.Certificate[1], inter.cert.Raw) || cert.Leaf.Subject.CommonName != "gw-1" {
				t.Fatalf("chain of %d certificates, leaf %v; want leaf and intermediate", len(cert.Certificate), cert.Leaf.Subject)
			}
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				handshake(t, root, cert, version)
			}
		})
	}
}

// handshake makes a mutual TLS connection with cert at both ends.
func handshake(t testing.TB, root *authority, cert tls.Certificate, version uint16) {
	t.Helper()
	config := &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: root.pool(), ClientCAs: root.pool(),
		ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "gw-1", MinVersion: version, MaxVersion: version,
	}
	if err := connect(config, config); err != nil {
		t.Fatalf("TLS %x: %v", version, err)
	}
}

func connect(server, client *tls.Config) error {
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		a.Close()
		done <- err
	}()
	c := tls.Client(b, client)
	err := c.Handshake()
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	b.Close()
	return errors.Join(err, <-done)
}
