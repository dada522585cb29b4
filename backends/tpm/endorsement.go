package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Where a TPM's maker has put the certificates of the endorsement keys, the one
// on P-256 first: it takes a chip a tenth of the time of the other. EK Credential
// Profile, 2.2.1.4, low range.
var endorsementIndices = []uint32{0x01C0000A, 0x01C00002}

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
	for _, index := range endorsementIndices {
		der, err := c.readCertificate(s, index)
		if err != nil {
			return nil, nil, err
		}
		if certificate, err := x509.ParseCertificate(der); err == nil {
			return certificate.RawSubjectPublicKeyInfo, [][]byte{der}, nil
		}
	}
	h, pub, err := c.createEndorsementKey(endorsementTemplate(tpm2.TPMAlgECC))
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

// endorsementTemplate is L-1 or L-2 of the EK Credential Profile, B.3.3 and B.3.4.
func endorsementTemplate(typ tpm2.TPMAlgID) []byte {
	// PolicySecret of the endorsement hierarchy.
	policy := [sha256.Size]byte{
		0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24,
		0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
	}
	const attributes = objFixedTPM | objFixedParent | objSensitiveDataOrigin | objAdminWithPolicy | objRestricted | objDecrypt
	b := put16(put16(nil, uint16(typ)), uint16(tpm2.TPMAlgSHA256))
	b = putSized(put32(b, attributes), policy[:])
	b = put16(put16(put16(b, uint16(tpm2.TPMAlgAES)), 128), uint16(tpm2.TPMAlgCFB))
	b = put16(b, uint16(tpm2.TPMAlgNull)) // no scheme
	if typ == tpm2.TPMAlgRSA {
		return putSized(put32(put16(b, 2048), 0), make([]byte, 256))
	}
	b = put16(put16(b, uint16(tpm2.TPMECCNistP256)), uint16(tpm2.TPMAlgNull))
	return putSized(putSized(b, make([]byte, 32)), make([]byte, 32))
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
	policy := endorsementTemplate(tpm2.TPMAlgECC)[8:][2 : 2+sha256.Size]
	for _, h := range now {
		if slices.Contains(c.beside, h) {
			continue
		}
		pub, err := c.readPublic(h)
		if err != nil || !bytes.Equal(pub.policy, policy) {
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
// SubjectPublicKeyInfo: among the persistent ones, or made of the standard
// template.
func (c *channel) loadEndorsementKey(spki []byte) (e entity, flush func(), err error) {
	want, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return e, nil, fmt.Errorf("the challenge's endorsement key: %w: %w", pkcs11.CKR_DATA_INVALID, err)
	}
	var typ tpm2.TPMAlgID
	switch want.(type) {
	case *rsa.PublicKey:
		typ = tpm2.TPMAlgRSA
	case *ecdsa.PublicKey:
		typ = tpm2.TPMAlgECC
	default:
		return e, nil, fmt.Errorf("the challenge's endorsement key is neither RSA nor EC: %w", pkcs11.CKR_DATA_INVALID)
	}
	same := func(pub *publicArea) bool {
		der, err := x509.MarshalPKIXPublicKey(pub.key)
		return err == nil && bytes.Equal(der, spki)
	}
	handles, err := c.handles(firstEndorsement)
	if err != nil {
		return e, nil, err
	}
	for _, h := range slices.DeleteFunc(handles, func(h uint32) bool { return h > lastEndorsement }) {
		pub, err := c.readPublic(h)
		var lost *transportError
		if errors.As(err, &lost) {
			return e, nil, err
		}
		if err == nil && pub.key != nil && same(pub) {
			return entity{h, pub.name}, func() {}, nil
		}
	}
	h, pub, err := c.createEndorsementKey(endorsementTemplate(typ))
	if err != nil {
		return e, nil, err
	}
	if !same(pub) {
		c.flushEndorsementKey(h)
		return e, nil, fmt.Errorf("the challenge is for the endorsement key of another TPM, or one that was made with a template of its own: %w", pkcs11.CKR_DATA_INVALID)
	}
	return entity{h, pub.name}, func() { c.flushEndorsementKey(h) }, nil
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
