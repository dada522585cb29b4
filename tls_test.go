package cryptoki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestTLSCertificateRefuses(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	ca := newAuthority(t, "ca", nil)
	generate(t, token, cryptoki.DevicePrivateKey, cryptoki.P256)
	stranger, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)

	_, err := token.TLSCertificate(ctx, cryptoki.DeviceCert, cryptoki.DevicePrivateKey)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `certificate "Device Cert": not found`) {
		t.Errorf("no certificate: error %v", err)
	}
	if err := token.ImportCertificate(ctx, cryptoki.DeviceCert, ca.issue(t, "x", stranger.Public())); err != nil {
		t.Fatal(err)
	}
	_, err = token.TLSCertificate(ctx, cryptoki.DeviceCert, cryptoki.DevicePrivateKey)
	if err == nil || !strings.Contains(err.Error(), `certificate "Device Cert"`) || !strings.Contains(err.Error(), `another key than private key "Device Priv TLS Key"`) {
		t.Errorf("the certificate of another key: error %v", err)
	}
	_, err = token.TLSCertificate(ctx, cryptoki.DeviceCert, "device key")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `private key "device key": not found; the token has "Device Priv TLS Key"`) {
		t.Errorf("no key: error %v", err)
	}
}

// A key that the token will not sign with is not given to TLS, which would fail
// in the middle of a handshake.
func TestTLSCertificateOfAKeyThatIsTooShort(t *testing.T) {
	token := newToken(t)
	s := importRSA(t, token, "short", 1024)
	if err := token.ImportCertificate(t.Context(), "c", newAuthority(t, "ca", nil).issue(t, "gw", s.Public())); err != nil {
		t.Fatal(err)
	}
	_, err := token.TLSCertificate(t.Context(), "c", "short")
	if !errors.Is(err, pkcs11.CKR_MECHANISM_INVALID) || !strings.Contains(err.Error(), `private key "short": `) || !strings.Contains(err.Error(), "key sizes") {
		t.Errorf("error %v", err)
	}
}

// The chain is what leads to the root, in order, whatever else is on the token.
func TestTLSChain(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	key := generate(t, token, "k", cryptoki.P256)
	root := newAuthority(t, "root", nil)
	upper := newAuthority(t, "upper", root)
	lower := newAuthority(t, "lower", upper)
	// The same name and key identifier, another key, and valid for longer.
	stranger := newAuthority(t, "lower", root)
	impostor := &authority{cert: sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: lower.cert.Subject, SubjectKeyId: lower.cert.SubjectKeyId, IsCA: true, BasicConstraintsValid: true,
		NotBefore: lower.cert.NotBefore, NotAfter: lower.cert.NotAfter.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}, root.cert, stranger.key.Public(), root.key)}
	leaf := lower.issue(t, "gw", key.Public())
	for label, cert := range map[string]*x509.Certificate{
		"leaf": leaf, "1": root.cert, "2": lower.cert, "3": impostor.cert, "4": upper.cert, "5": newAuthority(t, "other", nil).cert,
	} {
		if err := token.ImportCertificate(ctx, label, cert); err != nil {
			t.Fatal(err)
		}
	}
	names := func(cert tls.Certificate) string {
		var s []string
		for _, der := range cert.Certificate {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, c.Subject.CommonName)
		}
		return strings.Join(s, " ")
	}
	cert, err := token.TLSCertificate(ctx, "leaf", "k")
	if err != nil || names(cert) != "gw lower upper" || !cert.Leaf.Equal(leaf) {
		t.Errorf("chain %s, error %v", names(cert), err)
	}
	handshakeNamed(t, root, cert, "gw")

	// A certificate that is its own issuer is the whole chain.
	self, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	selfCert, _ := x509.ParseCertificate(self)
	if err := token.ImportCertificate(ctx, "self", selfCert); err != nil {
		t.Fatal(err)
	}
	if cert, err := token.TLSCertificate(ctx, "self", "k"); err != nil || len(cert.Certificate) != 1 {
		t.Errorf("self-signed: chain of %d, error %v", len(cert.Certificate), err)
	}
}

// Two CAs that have certified each other do not make an endless chain.
func TestTLSChainOfACircle(t *testing.T) {
	token := newToken(t)
	key := generate(t, token, "k", cryptoki.P256)
	a, b := newAuthority(t, "a", nil), newAuthority(t, "b", nil)
	ab := sign(t, a.cert, b.cert, a.key.Public(), b.key)
	ba := sign(t, b.cert, a.cert, b.key.Public(), a.key)
	for label, cert := range map[string]*x509.Certificate{"leaf": a.issue(t, "gw", key.Public()), "1": ab, "2": ba} {
		if err := token.ImportCertificate(t.Context(), label, cert); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := token.TLSCertificate(t.Context(), "leaf", "k")
	if err != nil || len(cert.Certificate) != 3 {
		t.Errorf("chain of %d, error %v; want leaf and two", len(cert.Certificate), err)
	}
}

func handshakeNamed(t *testing.T, root *authority, cert tls.Certificate, name string) {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: root.pool(), ClientCAs: root.pool(),
		ClientAuth: tls.RequireAndVerifyClientCert, ServerName: name}
	if err := connect(config, config); err != nil {
		t.Error(err)
	}
}

// What the token or the key cannot do is not offered, so that TLS negotiates
// something else instead of failing.
func TestTLSSchemes(t *testing.T) {
	ecdsa256 := []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512}
	pss := []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}
	pkcs1 := []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}
	for _, test := range []struct {
		name    string
		alg     cryptoki.Algorithm
		without []pkcs11.MechanismType
		want    []tls.SignatureScheme
		tls13   bool
	}{
		{"P-256", cryptoki.P256, nil, ecdsa256, true},
		{"P-384", cryptoki.P384, nil, []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP521AndSHA512}, true},
		{"P-521", cryptoki.P521, nil, []tls.SignatureScheme{tls.ECDSAWithP521AndSHA512, tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384}, true},
		{"Ed25519", cryptoki.Ed25519, nil, []tls.SignatureScheme{tls.Ed25519}, true},
		{"RSA", cryptoki.RSA2048, nil, append(append([]tls.SignatureScheme{}, pss...), pkcs1...), true},
		{"RSA without PSS", cryptoki.RSA2048, []pkcs11.MechanismType{pkcs11.CKM_RSA_PKCS_PSS,
			pkcs11.CKM_SHA256_RSA_PKCS_PSS, pkcs11.CKM_SHA384_RSA_PKCS_PSS, pkcs11.CKM_SHA512_RSA_PKCS_PSS}, pkcs1, false},
		{"RSA without PKCS #1", cryptoki.RSA2048, []pkcs11.MechanismType{pkcs11.CKM_RSA_PKCS,
			pkcs11.CKM_SHA256_RSA_PKCS, pkcs11.CKM_SHA384_RSA_PKCS, pkcs11.CKM_SHA512_RSA_PKCS}, pss, true},
		{"ECDSA with SHA-256 only", cryptoki.P256, []pkcs11.MechanismType{pkcs11.CKM_ECDSA, pkcs11.CKM_ECDSA_SHA384, pkcs11.CKM_ECDSA_SHA512},
			[]tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &changed{Module: newModule(t, &pal.Mem{}, false), without: test.without}
			token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
			key := generate(t, token, "k", test.alg)
			root := newAuthority(t, "root", nil)
			if err := token.ImportCertificate(t.Context(), "c", root.issue(t, "gw-1", key.Public())); err != nil {
				t.Fatal(err)
			}
			cert, err := token.TLSCertificate(t.Context(), "c", "k")
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(cert.SupportedSignatureAlgorithms) != fmt.Sprint(test.want) {
				t.Errorf("schemes %v, want %v", cert.SupportedSignatureAlgorithms, test.want)
			}
			handshake(t, root, cert, tls.VersionTLS12)
			if test.tls13 {
				handshake(t, root, cert, tls.VersionTLS13)
			}
		})
	}
}
