package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// srkHandle is where the storage root key is by convention: the one that
// systemd, the tpm2 provider of OpenSSL and others share. TCG TPM v2.0
// Provisioning Guidance, 7.8, table 2.
const srkHandle uint32 = 0x81000001

// A parent is the storage key under which the keys are.
type parent struct {
	handle uint32
	name   []byte
	seal   tpm2.LabeledEncapsulationKey // for salts and imports
	noDA   bool
}

func (p *parent) entity() entity { return entity{p.handle, p.name} }

var (
	errNoSRK = fmt.Errorf("tpm: there is no storage root key at %#x; InitToken makes one: %w", srkHandle, pkcs11.CKR_TOKEN_NOT_RECOGNIZED)

	// errForeign is what is said of a token whose keys are of another TPM.
	errForeign = fmt.Errorf("tpm: the storage root key is not the one of this token: the TPM was cleared or replaced, and the token's keys cannot be used any more; begin with an empty directory, or put the old TPM back: %w", pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
)

// readSRK looks for the storage root key. The error is nil, and the parent too,
// if there is none.
func (c *channel) readSRK(handle uint32) (*parent, error) {
	pub, err := c.readPublic(handle)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, nil
	}
	if err != nil {
		return nil, failed("read the storage root key", err)
	}
	if !pub.has(objRestricted|objDecrypt|objFixedTPM|objFixedParent|objUserWithAuth) || pub.symmetric == tpm2.TPMAlgNull || pub.nameAlg != tpm2.TPMAlgSHA256 {
		return nil, fmt.Errorf("tpm: the key at %#x is no storage key that can be used without a policy; name another one with parent=0x8100…: %w", handle, pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
	}
	t, err := tpm2.Unmarshal[tpm2.TPMTPublic](pub.raw)
	if err != nil {
		return nil, failed("read the storage root key", err)
	}
	seal, err := tpm2.ImportEncapsulationKey(t)
	if err != nil {
		return nil, fmt.Errorf("tpm: the storage root key at %#x: %w: %w", handle, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, inside(err))
	}
	return &parent{handle, pub.name, seal, pub.has(objNoDA)}, nil
}

// srkTemplate is the one that systemd and the tpm2 provider of OpenSSL use: a
// P-256 key whose unique field is empty. With go-tpm's ECCSRKTemplate, where it
// is of zeros, a TPM makes another key, and cannot load those of the others.
func srkTemplate() []byte {
	return tpm2.Marshal(tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, Restricted: true, Decrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{
				Algorithm: tpm2.TPMAlgAES,
				KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
				Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	})
}

// makeSRK makes the storage root key and puts it at its handle. That takes the
// authorization of the owner, and is done once in the life of a TPM.
func (c *channel) makeSRK() error {
	owner, end, err := c.hierarchy(c.t.opts.OwnerAuth)
	if err != nil {
		return err
	}
	defer end()
	params := putSized(nil, put16(put16(nil, 0), 0)) // no authorization value, no data
	params = putSized(params, srkTemplate())
	params = put32(putSized(params, nil), 0) // no outside info, no PCRs
	r, err := c.exec(&command{
		code:    tpm2.TPMCCCreatePrimary,
		handles: []entity{{handle: uint32(tpm2.TPMRHOwner)}},
		needs:   1, auths: []authorization{owner}, params: params, returns: true,
	})
	if err != nil {
		return ownerFailed("make a storage root key", err)
	}
	defer c.flush(r.handle)
	p := r.reader()
	pub, err := parsePublic(p.sized())
	if err != nil {
		return failed("make a storage root key", err)
	}
	return c.evict(entity{r.handle, pub.name}, srkHandle)
}

// hierarchy returns the authorization of one command by a hierarchy. A value is not
// sent but proven, in a session that is salted if there is a key to salt it to;
// where there is none yet, who listens can try values at leisure. end is to be
// called when the command is done.
func (c *channel) hierarchy(value []byte) (a authorization, end func(), err error) {
	if len(value) == 0 {
		return authorization{}, func() {}, nil
	}
	s, err := c.start(c.t.srk.Load() != nil)
	if err != nil {
		return a, nil, err
	}
	// The session ends with the command, or here, if that fails.
	return authorization{session: s, value: value}, func() { c.end(s) }, nil
}

// evict makes a loaded object persistent at a handle, or removes a persistent
// one, if both are the same.
func (c *channel) evict(object entity, handle uint32) error {
	owner, end, err := c.hierarchy(c.t.opts.OwnerAuth)
	if err != nil {
		return err
	}
	defer end()
	_, err = c.exec(&command{
		code:    tpm2.TPMCCEvictControl,
		handles: []entity{{handle: uint32(tpm2.TPMRHOwner)}, object},
		needs:   1, auths: []authorization{owner},
		params: put32(nil, handle),
	})
	return ownerFailed(fmt.Sprintf("keep a key at %#x", handle), err)
}

// ownerFailed is failed for commands that the owner authorizes.
func ownerFailed(what string, err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("tpm: %s: the TPM wants the owner's authorization; give it once, or have the owner do it: %w: %w", what, pkcs11.CKR_PIN_INCORRECT, inside(err))
	}
	return failed(what, err)
}
