package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An endorsementTemplate says how a TPM makes an endorsement key, and where its
// maker has put the certificate. EK Credential Profile, 2.2.1.4 and B.3, B.4.
type endorsementTemplate struct {
	index   uint32
	typ     tpm2.TPMAlgID
	nameAlg tpm2.TPMAlgID
	policy  []byte
	user    bool             // its empty authorization value will do, in place of the policy
	aes     uint16           // bits
	curve   tpm2.TPMECCCurve // of an EC key; an RSA key has 2048 bits
	unique  int              // bytes of zeros in each part of what the TPM fills in
	ec      elliptic.Curve   // that of curve
}

// endorsementTemplates are those of the low range, L-2 and L-1, and those of the
// high range, H-2, H-3 and H-1: the ones on curves first, for they take a chip a tenth
// of the time of RSA.
var endorsementTemplates = []endorsementTemplate{
	{index: 0x01C0000A, typ: tpm2.TPMAlgECC, nameAlg: tpm2.TPMAlgSHA256, policy: policyA, aes: 128, curve: tpm2.TPMECCNistP256, unique: 32, ec: elliptic.P256()},
	{index: 0x01C00002, typ: tpm2.TPMAlgRSA, nameAlg: tpm2.TPMAlgSHA256, policy: policyA, aes: 128, unique: 256},
	{index: 0x01C00014, typ: tpm2.TPMAlgECC, nameAlg: tpm2.TPMAlgSHA256, policy: policyB256, user: true, aes: 128, curve: tpm2.TPMECCNistP256, ec: elliptic.P256()},
	{index: 0x01C00016, typ: tpm2.TPMAlgECC, nameAlg: tpm2.TPMAlgSHA384, policy: policyB384, user: true, aes: 256, curve: tpm2.TPMECCNistP384, ec: elliptic.P384()},
	{index: 0x01C00012, typ: tpm2.TPMAlgRSA, nameAlg: tpm2.TPMAlgSHA256, policy: policyB256, user: true, aes: 128},
}

// The policies of endorsement keys. EK Credential Profile, B.6.
var (
	// policyA is PolicySecret of the endorsement hierarchy.
	policyA = []byte{
		0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24,
		0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
	}
	// policyB is that, or what an NV index of the owner's says.
	policyB256 = []byte{
		0xCA, 0x3D, 0x0A, 0x99, 0xA2, 0xB9, 0x39, 0x06, 0xF7, 0xA3, 0x34, 0x24, 0x14, 0xEF, 0xCF, 0xB3,
		0xA3, 0x85, 0xD4, 0x4C, 0xD1, 0xFD, 0x45, 0x90, 0x89, 0xD1, 0x9B, 0x50, 0x71, 0xC0, 0xB7, 0xA0,
	}
	policyB384 = []byte{
		0xB2, 0x6E, 0x7D, 0x28, 0xD1, 0x1A, 0x50, 0xBC, 0x53, 0xD8, 0x82, 0xBC, 0xF5, 0xFD, 0x3A, 0x1A,
		0x07, 0x41, 0x48, 0xBB, 0x35, 0xD3, 0xB4, 0xE4, 0xCB, 0x1C, 0x0A, 0xD9, 0xBD, 0xE4, 0x19, 0xCA,
		0xCB, 0x47, 0xBA, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0F, 0x9F, 0xC0, 0x00, 0xF3, 0xF8, 0x0E, 0x12,
	}
)

// makes reports whether a key made with the template is of the kind of pub.
func (e *endorsementTemplate) makes(pub any) bool {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return e.typ == tpm2.TPMAlgRSA && pub.N.BitLen() == 2048
	case *ecdsa.PublicKey:
		return e.typ == tpm2.TPMAlgECC && e.ec == pub.Curve
	}
	return false
}

// public is the TPMT_PUBLIC that TPM2_CreatePrimary takes.
func (e *endorsementTemplate) public() []byte {
	attributes := uint32(objFixedTPM | objFixedParent | objSensitiveDataOrigin | objAdminWithPolicy | objRestricted | objDecrypt)
	if e.user {
		attributes |= objUserWithAuth
	}
	b := put16(put16(nil, uint16(e.typ)), uint16(e.nameAlg))
	b = putSized(put32(b, attributes), e.policy)
	b = put16(put16(put16(b, uint16(tpm2.TPMAlgAES)), e.aes), uint16(tpm2.TPMAlgCFB))
	b = put16(b, uint16(tpm2.TPMAlgNull)) // no scheme
	unique := make([]byte, e.unique)
	if e.typ == tpm2.TPMAlgRSA {
		return putSized(put32(put16(b, 2048), 0), unique)
	}
	b = put16(put16(b, uint16(e.curve)), uint16(tpm2.TPMAlgNull))
	return putSized(putSized(b, unique), unique)
}

// Where endorsement keys are that somebody has made persistent. Registry of
// Reserved TPM 2.0 Handles, 2.3.1.
const (
	firstEndorsement uint32 = 0x81010000
	lastEndorsement  uint32 = 0x810100ff
)

// endorsement returns the TPM's endorsement key and its certificate.
func (c *channel) endorsement() (key []byte, chain [][]byte, err error) {
	// Nobody on the bus shall change the certificate unnoticed.
	s, err := c.start(true)
	if err != nil {
		return nil, nil, err
	}
	defer c.end(s)
	for _, e := range endorsementTemplates {
		der, err := c.readCertificate(s, e.index)
		if err != nil {
			return nil, nil, err
		}
		if certificate, err := x509.ParseCertificate(der); err == nil && e.makes(certificate.PublicKey) {
			return certificate.RawSubjectPublicKeyInfo, [][]byte{der}, nil
		}
	}
	h, pub, err := c.createEndorsementKey(endorsementTemplates[0].public())
	if err != nil {
		return nil, nil, err
	}
	c.flushEndorsementKey(h)
	if key, err = x509.MarshalPKIXPublicKey(pub.key); err != nil {
		return nil, nil, &commandError{tpm2.TPMCCCreatePrimary, err}
	}
	return key, nil, nil
}

// nvChunk is how many bytes are read at once; every TPM has a buffer for more.
const nvChunk = 512

// maxCertificate bounds what a TPM may say that a certificate takes, in bytes.
const maxCertificate = 16 << 10

// readCertificate reads a certificate from an NV index. It returns nil if there is
// none, or none that may be read. What fills the index behind the certificate is cut off.
func (c *channel) readCertificate(s *session, index uint32) ([]byte, error) {
	r, err := c.run(tpm2.TPMCCNVReadPublic, []entity{{handle: index}}, nil)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := r.reader()
	area, name := reader{b: p.sized()}, p.sized()
	area.u32() // index
	area.u16() // hash algorithm of the Name
	area.u32() // attributes
	area.sized()
	size := int(area.u16())
	if !p.done() || !area.done() || size > maxCertificate {
		return nil, &commandError{tpm2.TPMCCNVReadPublic, errGarbled}
	}
	var data []byte
	for len(data) < size {
		n := min(nvChunk, size-len(data))
		r, err := c.exec(&command{
			code:    tpm2.TPMCCNVRead,
			handles: []entity{{index, name}, {index, name}},
			needs:   1, auths: []authorization{{session: s, attrs: attrContinue}},
			params: put16(put16(nil, uint16(n)), uint16(len(data))),
		})
		if isAbout(err, tpm2.TPMRCNVAuthorization, tpm2.TPMRCNVUninitialized, tpm2.TPMRCNVLocked, tpm2.TPMRCAuthUnavailable) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		p := r.reader()
		chunk := p.sized()
		if !p.done() || len(chunk) != n {
			return nil, &commandError{tpm2.TPMCCNVRead, errGarbled}
		}
		data = append(data, chunk...)
	}
	var whole asn1.RawValue
	if _, err := asn1.Unmarshal(data, &whole); err != nil {
		return nil, nil
	}
	return whole.FullBytes, nil
}

// createEndorsementKey has the TPM make an endorsement key, the same at each call.
func (c *channel) createEndorsementKey(template []byte) (uint32, *publicArea, error) {
	params := putSized(nil, put16(put16(nil, 0), 0)) // no authorization value, no data
	params = putSized(params, template)
	params = put32(putSized(params, nil), 0) // no outside info, no PCRs
	owner, end, err := c.hierarchy(c.t.opts.EndorsementAuth)
	if err != nil {
		return 0, nil, err
	}
	defer end()
	if !c.t.managed.Load() {
		before, err := c.handles(0x80000000)
		if err != nil {
			return 0, nil, err
		}
		c.beside = append([]uint32{}, before...) // what appears besides, if the response is lost
	}
	r, err := c.exec(&command{
		code:    tpm2.TPMCCCreatePrimary,
		handles: []entity{{handle: uint32(tpm2.TPMRHEndorsement)}},
		needs:   1, auths: []authorization{owner},
		params: params, returns: true,
	})
	var refused tpm2.TPMRC
	if errors.As(err, &refused) {
		c.beside = nil
	}
	if err != nil {
		return 0, nil, endorsementFailed(err)
	}
	p := r.reader()
	pub, err := parsePublic(bytes.Clone(p.sized()))
	if err != nil || p.bad || pub.key == nil {
		c.dirty = true
		return 0, nil, &commandError{tpm2.TPMCCCreatePrimary, errGarbled}
	}
	return r.handle, pub, nil
}

// flushBeside removes the endorsement keys that have appeared in the TPM since
// c.beside was noted: one of ours, of which the response was lost.
func (c *channel) flushBeside() error {
	if c.beside == nil {
		return nil
	}
	now, err := c.handles(0x80000000)
	if err != nil {
		return err
	}
	for _, h := range now {
		if slices.Contains(c.beside, h) {
			continue
		}
		pub, err := c.readPublic(h)
		if err != nil || !slices.ContainsFunc(endorsementTemplates, func(e endorsementTemplate) bool { return bytes.Equal(pub.policy, e.policy) }) {
			continue
		}
		if err := c.flush(h); err != nil {
			return err
		}
	}
	c.beside = nil
	return nil
}

// loadEndorsementKey finds the endorsement key with a public key, as
// SubjectPublicKeyInfo: among the persistent ones, or made of the templates for such
// keys. The caller calls flush.
func (c *channel) loadEndorsementKey(spki []byte) (e entity, pub *publicArea, flush func(), err error) {
	want, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return e, nil, nil, fmt.Errorf("the challenge's endorsement key: %w: %w", pkcs11.CKR_DATA_INVALID, err)
	}
	same := func(pub *publicArea) bool {
		der, err := x509.MarshalPKIXPublicKey(pub.key)
		return err == nil && bytes.Equal(der, spki)
	}
	handles, err := c.handles(firstEndorsement)
	if err != nil {
		return e, nil, nil, err
	}
	for _, h := range slices.DeleteFunc(handles, func(h uint32) bool { return h > lastEndorsement }) {
		pub, err := c.readPublic(h)
		var lost *transportError
		if errors.As(err, &lost) {
			return e, nil, nil, err
		}
		if err == nil && pub.key != nil && same(pub) {
			return entity{h, pub.name}, pub, func() {}, nil
		}
	}
	tried := false
	for i := range endorsementTemplates {
		if !endorsementTemplates[i].makes(want) {
			continue
		}
		tried = true
		h, pub, err := c.createEndorsementKey(endorsementTemplates[i].public())
		if err != nil {
			return e, nil, nil, err
		}
		if same(pub) {
			return entity{h, pub.name}, pub, func() { c.flushEndorsementKey(h) }, nil
		}
		c.flushEndorsementKey(h)
	}
	if !tried {
		return e, nil, nil, fmt.Errorf("the challenge's endorsement key is neither of RSA with 2048 bits nor on P-256 or P-384: %w", pkcs11.CKR_DATA_INVALID)
	}
	return e, nil, nil, fmt.Errorf("the challenge is for the endorsement key of another TPM, or one that was made with a template of its own: %w", pkcs11.CKR_DATA_INVALID)
}

// flushEndorsementKey removes one that was made. Nothing has protected its handle
// on the bus, so what was made is looked for, too.
func (c *channel) flushEndorsementKey(h uint32) {
	c.flushOne(h)
	if c.flushBeside() != nil {
		c.dirty = true
	}
}

// startPolicy begins a policy session that no value is part of.
func (c *channel) startPolicy() (*session, error) {
	null := entity{handle: uint32(tpm2.TPMRHNull)}
	s := &session{policy: true, last: c.t.clock()}
	rand.Read(s.nonceCaller[:])
	params := putSized(putSized(nil, s.nonceCaller[:]), nil)
	params = put16(append(params, byte(tpm2.TPMSEPolicy)), uint16(tpm2.TPMAlgNull))
	r, err := c.exec(&command{
		code: tpm2.TPMCCStartAuthSession, handles: []entity{null, null},
		params: put16(params, uint16(tpm2.TPMAlgSHA256)), returns: true,
	})
	if err != nil {
		return nil, err
	}
	p := r.reader()
	s.handle, s.nonceTPM = r.handle, bytes.Clone(p.sized())
	if !p.done() || s.handle>>24 != 0x03 {
		c.dirty = true
		return nil, &commandError{tpm2.TPMCCStartAuthSession, errGarbled}
	}
	return s, nil
}
