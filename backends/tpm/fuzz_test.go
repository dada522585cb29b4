package tpm

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pal"
)

// Whatever is in a record, it is refused or is what would be written.
func FuzzRecord(f *testing.F) {
	sealedPIN := sealed{iterations: 7, public: []byte("public"), private: []byte("private")}
	token := &tokenRecord{version: version, flags: flagUserPIN | flagNoPIN, label: "gateway", parent: srkHandle, srkName: []byte("name"), so: sealedPIN, user: sealedPIN,
		open: []byte("secret"), mac: make([]byte, sealLen)}
	blob := &keyBlob{persistent: firstPersistent, public: []byte("public"), private: []byte("private"), creation: []byte("creation"), ticket: []byte("ticket"), auth: []byte("auth")}
	objects := &bundle{epoch: [8]byte{1}, replaces: []objectID{{9}}, objects: []stored{
		{id: objectID{1}, seq: 1, attrs: []byte("attributes"), mac: make([]byte, sealLen)},
		{id: objectID{2}, seq: 2, flags: flagPrivate | flagKey, attrs: make([]byte, sealLen), blob: blob.encode()},
	}}
	able := &abilities{curves: []tpm2.TPMECCCurve{tpm2.TPMECCNistP256}, rsa: []uint16{2048}, hashes: []tpm2.TPMAlgID{tpm2.TPMAlgSHA256}, hmac: true, cmac: true, input: 1024, slots: 3}
	newer := *token
	newer.version = withInventory
	stock, _ := (&inventory{states: make([]objectState, 3), going: make([]objectState, 1)}).encode(aead(make([]byte, 32)), [8]byte{1})
	for _, b := range [][]byte{token.encode(), newer.encode(), stock, persistingRecord{{firstPersistent, []byte("name")}}.encode(), objects.encode(), able.encode(), sessionsRecord{resets: 5, handles: []uint32{0x02000000}}.encode(), appendCRC(blob.encode()), nil} {
		f.Add(b)
		if len(b) > crcLen {
			f.Add(b[:len(b)-crcLen])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// Damage shows in the checksum; what is looked for here is behind it.
		for _, b := range [][]byte{b, appendCRC(bytes.Clone(b))} {
			if r, err := parseToken(b); err == nil && !bytes.Equal(r.encode(), b) {
				t.Errorf("token %x\nis written as %x", b, r.encode())
			}
			if r, err := parseBundle("o-1", b); err == nil && !bytes.Equal(r.encode(), b) {
				t.Errorf("objects %x\nare written as %x", b, r.encode())
			}
			if epoch, _, sealed, err := parseInventory(b); err == nil && !bytes.Equal(appendCRC(append(append([]byte{withInventory, kindInventory}, epoch[:]...), sealed...)), b) {
				t.Errorf("inventory %x is written otherwise", b)
			}
			if r, err := parsePersisting(b); err == nil && !bytes.Equal(r.encode(), b) {
				t.Errorf("persisting %x\nis written as %x", b, r.encode())
			}
			if a, err := parseAbilities(b); err == nil && !bytes.Equal(a.encode(), b) {
				t.Errorf("abilities %x\nare written as %x", b, a.encode())
			}
			if r, err := parseSessions(b); err == nil && !bytes.Equal(r.encode(), b) {
				t.Errorf("sessions %x\nare written as %x", b, r.encode())
			}
			if k, err := parseKeyBlob(b); err == nil && !bytes.Equal(k.encode(), b) {
				t.Errorf("key %x\nis written as %x", b, k.encode())
			}
		}
	})
}

// Whatever a TPM says that an object is, it is refused, or go-tpm reads the same.
func FuzzPublic(f *testing.F) {
	f.Add(srkTemplate())
	f.Add(sealTemplate())
	f.Add(ecPublic(generated|objSign, tpm2.TPMECCNistP256, bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)))
	f.Add(rsaPublic(generated|objSign|objDecrypt, 2048, 0, bytes.Repeat([]byte{0xf1}, 256)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePublic(b)
		if err != nil {
			return
		}
		theirs, err := tpm2.Unmarshal[tpm2.TPMTPublic](b)
		if err != nil {
			return // it knows fewer schemes
		}
		name, err := tpm2.ObjectName(theirs)
		if err == nil && bytes.Equal(tpm2.Marshal(theirs), b) && !bytes.Equal(name.Buffer, p.name) {
			t.Errorf("%x has the Name %x, not %x", b, name.Buffer, p.name)
		}
	})
}

// parrot answers every command with the same bytes, as a TPM would say them.
type parrot []byte

func (p parrot) Send([]byte) ([]byte, error) { return bytes.Clone(p), nil }

// Whatever comes for an answer, nothing panics, nothing is taken for a token's
// secret, and nothing takes for ever.
func FuzzResponse(f *testing.F) {
	answer := func(tag uint16, rc uint32, body ...byte) []byte {
		b := append(put32(put32(put16(nil, tag), 0), rc), body...)
		binary.BigEndian.PutUint32(b[2:], uint32(len(b)))
		return b
	}
	f.Add(answer(tagNoSessions, 0x922))
	f.Add(answer(tagNoSessions, 0))
	f.Add(answer(tagNoSessions, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0))
	f.Add(answer(tagNoSessions, 0, 1, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 1, 5, 0x49, 0x42, 0x4d, 0))
	f.Add(answer(tagNoSessions, 0, putSized(nil, srkTemplate())...))
	f.Add(answer(tagSessions, 0, 0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		token, err := New(context.Background(), parrot(b), new(pal.Mem), Cheap(Options{}))
		if err == nil {
			token.Close()
		}
		s := &session{handle: 0x02000000, nonceTPM: make([]byte, nonceLen)}
		for _, cmd := range []*command{
			{code: tpm2.TPMCCGetRandom},
			{code: tpm2.TPMCCLoad, needs: 1, auths: []authorization{{}}, returns: true},
			{code: tpm2.TPMCCUnseal, needs: 1, auths: []authorization{{session: s, value: []byte("auth"), attrs: attrEncrypt | attrContinue}}},
		} {
			if r, err := cmd.decode(bytes.Clone(b)); err == nil && len(cmd.auths) > 0 && cmd.auths[0].session != nil {
				t.Errorf("%x was taken for authentic: %x", b, r.params)
			}
		}
	})
}
