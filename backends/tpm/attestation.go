package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/backends/tpm/attest"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var _ interface {
	driver.Attester
	driver.ChallengeAnswerer
} = (*Token)(nil)

// maxNonce is how many bytes of a nonce every TPM takes: as many as the longest
// digest of one that knows SHA-256 only.
const maxNonce = 32

// Attest returns the TPM's word, for who has chosen the nonce of 1 to 32 bytes,
// that it has created a private key and how, as attest.Evidence in JSON: package
// attest checks it. The user or the SO has to be logged in, unless
// the token has no PIN.
//
// The first call makes the attestation key of the token, which the store keeps.
// If the TPM has no certificate for its endorsement key, the evidence holds the
// bare key. Keys that were imported cannot be attested:
// CKR_KEY_FUNCTION_NOT_PERMITTED.
func (t *Token) Attest(ctx context.Context, o driver.Object, nonce []byte) ([]byte, error) {
	from, err := t.own(o)
	if err != nil {
		return nil, err
	}
	if len(nonce) == 0 || len(nonce) > maxNonce {
		return nil, fmt.Errorf("tpm: attest: a nonce has 1 to %d bytes, not %d; use the hash of a longer one: %w", maxNonce, len(nonce), pkcs11.CKR_ARGUMENTS_BAD)
	}
	if from.key == nil || from.key.public.key == nil {
		return nil, fmt.Errorf("tpm: attest: this is no private key: %w", pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	if len(from.blob.creation) == 0 || !from.key.public.has(objSensitiveDataOrigin) {
		return nil, fmt.Errorf("tpm: attest: the key was imported, so the TPM has not created it: %w", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	ak, err := t.attestationKey(ctx)
	if err != nil {
		return nil, err
	}
	e := &attest.Evidence{
		Version:        attest.Version,
		AttestationKey: ak.public.raw,
		Key:            from.key.public.raw,
		CreationData:   from.blob.creation,
	}
	nonce = bytes.Clone(nonce) // use may go on when ctx has ended
	err = t.use(ctx, nil, func(c *channel, _ entity) error {
		made := *e
		if made.EndorsementKey, made.EndorsementChain, err = c.endorsement(); err != nil {
			return err
		}
		// Two keys are in the TPM at once, and for the second to be loaded their
		// parent takes a place as well: all that most TPMs have.
		if err := c.unloadKeys(); err != nil {
			return err
		}
		signer, flush, err := c.loadOne(ak)
		if err != nil {
			return err
		}
		defer flush()
		if err := c.quote(&made, ak, signer, nonce); err != nil {
			return err
		}
		object, flush, err := c.loadOne(from.key)
		if err != nil {
			return err
		}
		defer flush()
		hash := sha256.Sum256(from.blob.creation)
		made.Creation, err = c.state(&command{
			code:    tpm2.TPMCCCertifyCreation,
			handles: []entity{signer, object},
			params:  append(put16(putSized(putSized(nil, nonce), hash[:]), uint16(tpm2.TPMAlgNull)), from.blob.ticket...),
		}, ak)
		if err != nil {
			return err
		}
		*e = made
		return nil
	})
	if err == nil {
		err = convincing(e, ak, nonce)
	}
	if err != nil {
		return nil, failed("attest", err)
	}
	return e.Marshal()
}

// convincing checks evidence as a verifier will, but for the maker's certificate:
// what the bus or the TPM has done to it shows here and not somewhere else.
func convincing(e *attest.Evidence, ak *tpmKey, nonce []byte) error {
	own := *e
	own.EndorsementChain = nil
	hash := sha256.Sum256(e.EndorsementKey)
	_, err := attest.Verify(&own, &attest.Policy{Nonce: nonce, Known: [][]byte{ak.name}, EndorsementKeys: [][]byte{hash[:]}})
	if err != nil {
		return fmt.Errorf("what the TPM has said does not hold: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	return nil
}

// unloadKeys removes the keys that are kept loaded.
func (c *channel) unloadKeys() error {
	for len(c.loaded) > 0 {
		if err := c.unload(c.loaded[0].key); err != nil {
			return err
		}
	}
	return nil
}

// loadOne loads a key that is not kept, until flush is called.
func (c *channel) loadOne(k *tpmKey) (e entity, flush func(), err error) {
	if k.persistent != 0 && !k.evicted.Load() {
		return entity{k.persistent, k.name}, func() {}, nil
	}
	if c.t.srk.Load() == nil {
		return e, nil, errNoSRK
	}
	h, err := c.loadBlob(k)
	if err != nil {
		return e, nil, err
	}
	return entity{h, k.name}, func() { c.flushOne(h) }, nil
}

// flushOne removes what was loaded for one purpose.
func (c *channel) flushOne(h uint32) {
	if c.flush(h) != nil {
		c.dirty = true
	}
}

// state has the attestation key sign a statement. cmd lacks the authorization.
func (c *channel) state(cmd *command, ak *tpmKey) (s attest.Statement, err error) {
	auth, err := c.t.authOf(ak)
	if err != nil {
		return s, err
	}
	defer clear(auth)
	a, err := c.authorize(auth, 0)
	if err != nil {
		return s, err
	}
	cmd.needs, cmd.auths = 1, []authorization{a}
	r, err := c.exec(cmd)
	if err != nil {
		return s, err
	}
	p := r.reader()
	s = attest.Statement{Info: bytes.Clone(p.sized()), Signature: bytes.Clone(p.b)}
	if p.bad || len(s.Info) == 0 || len(s.Signature) == 0 {
		return s, &commandError{cmd.code, errGarbled}
	}
	return s, nil
}

// quotedPCRs are the registers that a boot measures into: 0 to 7 the firmware,
// 8 to 15 the operating system. Those above may be changed at run time.
const quotedPCRs = 16

// quote has the TPM state what is in the platform's registers.
func (c *channel) quote(e *attest.Evidence, ak *tpmKey, signer entity, nonce []byte) error {
	selection := func(first, last int) []byte {
		var selected [3]byte
		for i := first; i < last; i++ {
			selected[i/8] |= 1 << (i % 8)
		}
		b := put16(put32(nil, 1), uint16(tpm2.TPMAlgSHA256))
		return append(append(b, byte(len(selected))), selected[:]...)
	}
	var err error
	e.Quote, err = c.state(&command{
		code:    tpm2.TPMCCQuote,
		handles: []entity{signer},
		params:  append(put16(putSized(nil, nonce), uint16(tpm2.TPMAlgNull)), selection(0, quotedPCRs)...),
	}, ak)
	if err != nil {
		return err
	}
	// The values are read afterwards: should one change in between, the evidence
	// shows it, as no longer the statement's.
	e.PCRs = []attest.PCR{}
	for first := 0; first < quotedPCRs; first += 8 { // a TPM returns no more at once
		r, err := c.run(tpm2.TPMCCPCRRead, nil, selection(first, first+8))
		if err != nil {
			return err
		}
		p := r.reader()
		p.u32() // update counter
		var indices []int
		for n := p.u32(); n > 0 && !p.bad; n-- {
			p.u16()
			for i, selected := range p.take(int(p.u8())) {
				for bit := range 8 {
					if selected>>bit&1 != 0 {
						indices = append(indices, 8*i+bit)
					}
				}
			}
		}
		if n := int(p.u32()); n != len(indices) {
			return &commandError{tpm2.TPMCCPCRRead, errGarbled}
		}
		for _, i := range indices {
			value := bytes.Clone(p.sized())
			if i < first || i >= first+8 || len(value) != sha256.Size {
				return &commandError{tpm2.TPMCCPCRRead, errGarbled}
			}
			e.PCRs = append(e.PCRs, attest.PCR{Index: i, Value: value})
		}
		if !p.done() {
			return &commandError{tpm2.TPMCCPCRRead, errGarbled}
		}
	}
	return nil
}

const (
	nameAttestation = "attestation"
	kindAttestation = 'k'
)

// attestationRecord is the record "attestation": the key with which the TPM signs
// what it says itself.
type attestationRecord struct {
	epoch [8]byte
	blob  keyBlob
}

func (r *attestationRecord) encode() []byte {
	b := append([]byte{version, kindAttestation}, r.epoch[:]...)
	return appendCRC(append(b, r.blob.encode()...))
}

func parseAttestation(b []byte) (*attestationRecord, error) {
	rest, err := body(nameAttestation, kindAttestation, b)
	if err != nil {
		return nil, err
	}
	d := reader{b: rest}
	r := new(attestationRecord)
	copy(r.epoch[:], d.take(len(r.epoch)))
	blob, err := parseKeyBlob(d.b)
	if d.bad || err != nil {
		return nil, damaged(nameAttestation, "its fields do not fit its length")
	}
	r.blob = *blob
	return r, nil
}

// attestationTemplate is that of a restricted key: with it the TPM signs only
// what begins with TPM_GENERATED_VALUE, which nobody but it can say.
func attestationTemplate() []byte {
	b := publicHeader(tpm2.TPMAlgECC, generated|objRestricted|objSign)
	b = put16(b, uint16(tpm2.TPMAlgNull))
	b = put16(put16(b, uint16(tpm2.TPMAlgECDSA)), uint16(tpm2.TPMAlgSHA256))
	b = put16(put16(b, uint16(tpm2.TPMECCNistP256)), uint16(tpm2.TPMAlgNull))
	return putSized(putSized(b, nil), nil)
}

// attestationKey returns the token's attestation key, and makes it if there is
// none.
func (t *Token) attestationKey(ctx context.Context) (*tpmKey, error) {
	epoch, err := t.loggedIn()
	if err != nil {
		return nil, err
	}
	t.io.Lock()
	k, err := t.loadAttestationKey(epoch)
	t.io.Unlock()
	if k != nil || err != nil {
		return k, err
	}
	made, err := t.createKey(ctx, attestationTemplate(), nil, tokenTemplate)
	if err != nil {
		return nil, failed("make an attestation key", err)
	}
	release, err := t.exclusive()
	if err != nil {
		return nil, err
	}
	defer release()
	if k, err := t.loadAttestationKey(epoch); k != nil || err != nil {
		return k, err // another process was faster
	}
	r := &attestationRecord{epoch: epoch, blob: *made.blob()}
	if err := t.wrote(t.store.Save(nameAttestation, r.encode())); err != nil {
		return nil, err
	}
	return made.key, nil
}

// tokenTemplate is that of what lives with the token.
var tokenTemplate = pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true)}

// loggedIn returns the epoch of the token to which somebody is logged in.
func (t *Token) loggedIn() (epoch [8]byte, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if err := t.mayChange(); err != nil {
		return epoch, err
	}
	return t.rec.epoch, nil
}

// loadAttestationKey returns nil if there is none. t.io is held.
func (t *Token) loadAttestationKey(epoch [8]byte) (*tpmKey, error) {
	b, err := t.store.Load(nameAttestation)
	if notThere(err) {
		return nil, nil
	}
	if err != nil {
		return nil, storeError("record "+nameAttestation, err)
	}
	r, err := parseAttestation(b)
	if err != nil {
		return nil, err
	}
	if r.epoch != epoch {
		return nil, nil // of the token before it was initialized anew
	}
	k, err := newKey(r.blob.public, r.blob.private)
	if err != nil {
		return nil, damaged(nameAttestation, "%v", err)
	}
	if !bytes.Equal(k.public.raw[:8], attestationTemplate()[:8]) {
		return nil, damaged(nameAttestation, "its key is no attestation key")
	}
	return k, nil
}

// AnswerChallenge answers an attest.Challenge, in JSON, with an attest.Answer: it
// shows that the token's attestation key is in the TPM that has the endorsement
// key. It takes the authorization of the TPM's endorsement hierarchy, which most
// TPMs have empty: see Options.EndorsementAuth.
func (t *Token) AnswerChallenge(ctx context.Context, challenge []byte) ([]byte, error) {
	q, err := attest.ParseChallenge(challenge)
	if err != nil {
		return nil, fmt.Errorf("tpm: answer a challenge: %w: %w", pkcs11.CKR_DATA_INVALID, inside(err))
	}
	ak, err := t.attestationKey(ctx)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(q.AttestationKeyName, ak.name) {
		return nil, fmt.Errorf("tpm: answer a challenge: it is for another attestation key, that of another token or of this one before it was initialized anew: %w", pkcs11.CKR_DATA_INVALID)
	}
	answer := &attest.Answer{Version: attest.Version}
	err = t.use(ctx, nil, func(c *channel, _ entity) error {
		secret, err := c.activate(q, ak)
		if err == nil {
			answer.Secret = secret
		}
		return err
	})
	if isAbout(err, tpm2.TPMRCIntegrity, tpm2.TPMRCSize, tpm2.TPMRCValue, tpm2.TPMRCInsufficient, tpm2.TPMRCECCPoint) {
		return nil, fmt.Errorf("tpm: answer a challenge: it was not made for this TPM and this attestation key: %w: %w", pkcs11.CKR_DATA_INVALID, inside(err))
	}
	if err != nil {
		return nil, failed("answer a challenge", err)
	}
	return answer.Marshal()
}

// isAbout reports whether err is one of the codes.
func isAbout(err error, codes ...tpm2.TPMRC) bool {
	return slices.ContainsFunc(codes, func(code tpm2.TPMRC) bool { return errors.Is(err, code) })
}

// activate is TPM2_ActivateCredential.
func (c *channel) activate(q *attest.Challenge, ak *tpmKey) ([]byte, error) {
	if err := c.unloadKeys(); err != nil {
		return nil, err
	}
	ek, ekPublic, flush, err := c.loadEndorsementKey(q.EndorsementKey)
	if err != nil {
		return nil, err
	}
	defer flush()
	key, flush, err := c.loadOne(ak)
	if err != nil {
		return nil, err
	}
	defer flush()
	decrypts, end, err := c.authorizeEndorsementKey(ekPublic)
	if err != nil {
		return nil, err
	}
	defer end()
	auth, err := c.t.authOf(ak)
	if err != nil {
		return nil, err
	}
	defer clear(auth)
	a, err := c.authorize(auth, 0)
	if err != nil {
		return nil, err
	}
	r, err := c.exec(&command{
		code:    tpm2.TPMCCActivateCredential,
		handles: []entity{key, ek},
		needs:   2, auths: []authorization{a, decrypts},
		params: putSized(putSized(nil, q.Credential), q.Seed),
	})
	c.forgive()
	if err != nil {
		return nil, err
	}
	p := r.reader()
	secret := bytes.Clone(p.sized())
	if !p.done() {
		return nil, &commandError{tpm2.TPMCCActivateCredential, errGarbled}
	}
	return secret, nil
}

// authorizeEndorsementKey returns what lets an endorsement key decrypt, until end is
// called: a session that fulfils its policy, or its empty authorization value, where
// that will do.
func (c *channel) authorizeEndorsementKey(pub *publicArea) (a authorization, end func(), err error) {
	if pub.has(objUserWithAuth) {
		return authorization{}, func() {}, nil
	}
	policy, err := c.startPolicy()
	if err != nil {
		return a, nil, err
	}
	// What the endorsement key's policy wants. EK Credential Profile, B.6.2.
	owner, endOwner, err := c.hierarchy(c.t.opts.EndorsementAuth)
	if err != nil {
		c.end(policy)
		return a, nil, err
	}
	end = func() {
		endOwner()
		c.end(policy)
	}
	_, err = c.exec(&command{
		code:    tpm2.TPMCCPolicySecret,
		handles: []entity{{handle: uint32(tpm2.TPMRHEndorsement)}, {handle: policy.handle}},
		needs:   1, auths: []authorization{owner},
		// No nonce, no parameters, no reference, no expiration.
		params: put32(putSized(putSized(putSized(nil, nil), nil), nil), 0),
	})
	if err != nil {
		end()
		return a, nil, endorsementFailed(err)
	}
	return authorization{session: policy}, end, nil // the session ends with the command
}

// endorsementFailed is about commands that the endorsement hierarchy authorizes.
func endorsementFailed(err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("the TPM wants the authorization of its endorsement hierarchy; give it with Options.EndorsementAuth: %w: %w", pkcs11.CKR_PIN_INCORRECT, err)
	}
	if errors.Is(err, tpm2.TPMRCHierarchy) {
		return fmt.Errorf("the endorsement hierarchy of the TPM is disabled: %w: %w", pkcs11.CKR_FUNCTION_NOT_SUPPORTED, err)
	}
	return err
}
