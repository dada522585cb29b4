package conformance

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"io"
	"math/big"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// What the callers in FreeRTOS do, from beginning to end.
func storyCases() []Case {
	return suite("story", true,
		Case{ID: "STO-01", Name: "TLS: the key and the certificate are found, and the key signs the handshake", Clause: "amazon-freertos iot_tls.c",
			Ancestors: []string{"caller TLS"}, needs: needs(ecSign, ecObjects, wantsFresh), run: storyTLS},
		Case{ID: "STO-02", Name: "OTA: an update is hashed and its signature verified with the code verification key", Clause: "amazon-freertos OTA PAL",
			Ancestors: []string{"gap 26", "caller OTA"}, needs: needs(wantsEC, wantsJITP, wantsFresh, wantsCreate, ecVerifyRow, sha256Row), run: storyOTA},
		Case{ID: "STO-03", Name: "provisioning: a key made on the token signs a CSR, and its certificate is stored", Clause: "aws-iot-device-sdk-embedded-C fleet provisioning",
			Ancestors: []string{"gap 27", "caller fleet provisioning"}, needs: needs(ecGen, ecSign, wantsFresh, wantsCreate), run: storyCSR},
		Case{ID: "STO-04", Name: "provisioning: the public key is exported by its header and its point", Clause: "amazon-freertos aws_dev_mode_key_provisioning.c",
			Ancestors: []string{"caller developer provisioning"}, needs: needs(ecGen, wantsFresh, wantsCreate), run: storyExport},
		Case{ID: "STO-05", Name: "sockets: a sequence number is a digest over five parts", Clause: "amazon-freertos secure sockets",
			Ancestors: []string{"caller FreeRTOS+TCP"}, needs: needs(wantsRandom, sha256Row), run: func(t *T) {
				s := t.open(roSession)
				secret := make([]byte, 8)
				t.ok(s.GenerateRandom(t.ctx, secret))
				parts := [][]byte{secret, {10, 0, 0, 1}, {0x12, 0x34}, {10, 0, 0, 2}, {0x22, 0xb3}}
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				for _, p := range parts {
					t.ok(s.DigestUpdate(t.ctx, p))
				}
				digest := make([]byte, 32)
				_, err := s.DigestFinal(t.ctx, digest)
				t.ok(err)
				want := sha256.Sum256(bytes.Join(parts, nil))
				t.equal("the sequence number", binary.BigEndian.Uint32(digest), binary.BigEndian.Uint32(want[:]))
			}},
	)
}

func storyTLS(t *T) {
	s, l := t.session(), t.e.labels
	t.destroyCredentials(s)
	provisionEC(t, s)
	t.reopen()
	s = t.session()
	if t.e.can.login { // TLS logs in again
		t.want(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN), pkcs11.CKR_USER_ALREADY_LOGGED_IN)
	}
	priv := t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	t.equal("CKA_KEY_TYPE", pkcs11.KeyType(t.get(s, priv, pkcs11.CKA_KEY_TYPE).Uint()), pkcs11.CKK_EC)
	cert := must(x509.ParseCertificate(t.bytes(s, t.mustFind(s, l.Cert, pkcs11.CKO_CERTIFICATE), pkcs11.CKA_VALUE)))
	t.check(t.find(s, "Test no such JITP Cert", pkcs11.CKO_CERTIFICATE) == 0, "a certificate is found that is not there")
	pub := t.publicEC(s, t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY), elliptic.P256())
	if t.e.profile.Import {
		t.check(pub.Equal(cert.PublicKey), "the certificate is for another key")
	}
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384} { // of the cipher suite
		digest := sum(h, shaMessage)
		sig := make([]byte, 256)
		t.ok(s.SignInit(t.ctx, ecdsaMech, priv))
		n, err := s.Sign(t.ctx, digest, sig)
		t.ok(err)
		t.verifyHost(pub, digest, sig[:n])
	}
}

func storyOTA(t *T) {
	s, label := t.session(), t.e.labels.CodeVerifyKey
	t.destroyCredentials(s)
	t.create(s, certTemplate(label, ecCert))
	t.create(s, ecPublicTemplate(label, &ecKey.PublicKey))
	t.reopen()
	s = t.open(roSession) // OTA does not log in
	// The agent searches with the NUL at the end of the name, and by it alone.
	found := t.all(s, attr(pkcs11.CKA_LABEL, label+"\x00"))
	t.equal("objects found by the name and its NUL", len(found), 2)
	cert := t.mustFind(s, label, pkcs11.CKO_CERTIFICATE)
	t.equal("the certificate", t.bytes(s, cert, pkcs11.CKA_VALUE), ecCert)

	image := bytes.Repeat(shaMessage, 100)
	digest := sha256.Sum256(image)
	der := must(ecdsa.SignASN1(rand.Reader, ecKey, digest[:])) // as it is in the job document
	t.ok(s.DigestInit(t.ctx, sha256Mech))
	for rest := image; len(rest) > 0; {
		n := min(1024, len(rest))
		t.ok(s.DigestUpdate(t.ctx, rest[:n]))
		rest = rest[n:]
	}
	hashed := make([]byte, 32)
	_, err := s.DigestFinal(t.ctx, hashed)
	t.ok(err)
	var rs struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(der, &rs)
	t.check(err == nil, "%v", err)
	raw := append(rs.R.FillBytes(make([]byte, 32)), rs.S.FillBytes(make([]byte, 32))...)
	key := t.mustFind(s, label, pkcs11.CKO_PUBLIC_KEY)
	t.ok(t.verify(s, ecdsaMech, key, hashed, raw))
	t.want(t.verify(s, ecdsaMech, key, flipped(hashed, 0), raw), badSignature)
	t.want(t.verify(s, ecdsaMech, key, hashed, der), sigRange)
}

// keySigner is a crypto.Signer over the functions of a session.
type keySigner struct {
	ctx  context.Context
	s    cryptoki.Session
	priv pkcs11.ObjectHandle
	pub  *ecdsa.PublicKey
}

func (k keySigner) Public() crypto.PublicKey { return k.pub }

func (k keySigner) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	if err := k.s.SignInit(k.ctx, ecdsaMech, k.priv); err != nil {
		return nil, err
	}
	sig := make([]byte, 64)
	if _, err := k.s.Sign(k.ctx, digest, sig); err != nil {
		return nil, err
	}
	return asn1.Marshal(struct{ R, S *big.Int }{bigInt(sig[:32]), bigInt(sig[32:])})
}

func storyCSR(t *T) {
	s, l := t.session(), t.e.labels
	t.destroyCredentials(s)
	public, private := ecGenerateTemplates(l.PublicKey, l.PrivateKey)
	pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public, private)
	t.ok(err)
	key := keySigner{t.ctx, s, priv, t.publicEC(s, pub, elliptic.P256())}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "gateway"}, SignatureAlgorithm: x509.ECDSAWithSHA256}, key)
	t.check(err == nil, "make the CSR: %v", err)
	csr, err := x509.ParseCertificateRequest(der)
	t.check(err == nil, "the CSR does not parse: %v", err)
	t.check(csr.CheckSignature() == nil, "the CSR's signature is not its key's: %v", csr.CheckSignature())
	t.check(key.pub.Equal(csr.PublicKey), "the CSR is for another key")
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(7), Subject: csr.Subject}, must(x509.ParseCertificate(ecCert)), csr.PublicKey, ecKey)
	t.check(err == nil, "issue the certificate: %v", err)
	t.create(s, certTemplate(l.Cert, cert))
	t.reopen()
	s = t.session()
	stored := must(x509.ParseCertificate(t.bytes(s, t.mustFind(s, l.Cert, pkcs11.CKO_CERTIFICATE), pkcs11.CKA_VALUE)))
	priv = t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	t.verifyHost(stored.PublicKey.(*ecdsa.PublicKey), ecHash1, t.sign(s, ecdsaMech, priv, ecHash1))
}

func storyExport(t *T) {
	s, l := t.session(), t.e.labels
	t.destroyCredentials(s)
	generateECCredentials(t, s)
	point := t.bytes(s, t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY), pkcs11.CKA_EC_POINT)
	t.equal("the length of CKA_EC_POINT", len(point), 67)
	// 26 bytes of header take the place of the first two of the attribute.
	spki := append(unhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"), point[2:]...)
	t.equal("the length of the public key", len(spki), 91)
	parsed, err := x509.ParsePKIXPublicKey(spki)
	t.check(err == nil, "the public key does not parse: %v", err)
	if t.e.has(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 256) {
		sig := t.sign(s, ecdsaMech, t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY), ecHash1)
		t.verifyHost(parsed.(*ecdsa.PublicKey), ecHash1, sig)
	}
	info, err := t.module().TokenInfo(t.ctx, t.e.slot)
	t.ok(err) // whose label begins with the thing name
	t.check(len(info.Label) <= 32, "the label has %d bytes", len(info.Label))
}
