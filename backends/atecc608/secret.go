package atecc608

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/aesmode"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A secret is a secret key: in a slot, or of a session and then in memory. AES
// keys in slots encrypt block by block, 27 ms each; HMAC is with SHA-256.
type secret struct{ object }

var (
	_ driver.Signer    = (*secret)(nil)
	_ driver.Verifier  = (*secret)(nil)
	_ driver.Encrypter = (*secret)(nil)
	_ driver.Decrypter = (*secret)(nil)
	_ driver.Exporter  = (*secret)(nil)
)

func newSecret(o object) driver.Object { return &secret{o} }

// Lengths of secret keys in bytes.
const (
	aesKeySize = 16 // AES-128 alone
	maxHMACKey = 32 // the chip takes 32 bytes; a shorter key is padded with zeros, as HMAC pads it
)

func (k *secret) wrongMechanism(m *pkcs11.Mechanism) error {
	return fmt.Errorf("atecc608: %v: %w: the key %q is not for it", m.Type, pkcs11.CKR_MECHANISM_INVALID, k.attrs.Text(pkcs11.CKA_LABEL))
}

// Sign makes a MAC.
func (k *secret) Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	if err := k.t.enter(ctx); err != nil {
		return nil, err
	}
	defer k.t.leave()
	switch m.Type {
	case pkcs11.CKM_SHA256_HMAC:
		if k.slot < 0 {
			h := hmac.New(sha256.New, k.rec.value)
			h.Write(data)
			return h.Sum(nil), nil
		}
		var mac [32]byte
		err := k.t.use(ctx, k.slot, func(s *atecc.Sequence) (err error) {
			mac, err = s.HMAC(k.slot, data)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("atecc608: slot %d: %w", k.slot, err)
		}
		return mac[:], nil
	case pkcs11.CKM_AES_CMAC:
		b, err := k.block(ctx)
		if err != nil {
			return nil, err
		}
		mac := cmac(b, data)
		return mac, b.failed()
	}
	return nil, k.wrongMechanism(m)
}

// Verify makes the MAC and compares it in constant time.
func (k *secret) Verify(ctx context.Context, m *pkcs11.Mechanism, data, mac []byte) error {
	want, err := k.Sign(ctx, m, data)
	if err != nil {
		return err
	}
	if len(mac) != len(want) {
		return fmt.Errorf("atecc608: %v: %w: a MAC of %d bytes, not %d", m.Type, pkcs11.CKR_SIGNATURE_LEN_RANGE, len(mac), len(want))
	}
	if subtle.ConstantTimeCompare(mac, want) != 1 {
		return pkcs11.CKR_SIGNATURE_INVALID
	}
	return nil
}

// Encrypt encrypts with AES in the modes of Token.Mechanisms.
func (k *secret) Encrypt(ctx context.Context, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error) {
	return k.crypt(ctx, func(b cipher.Block) ([]byte, error) { return aesmode.Encrypt(b, m, plaintext) })
}

// Decrypt is the reverse of Encrypt.
func (k *secret) Decrypt(ctx context.Context, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	return k.crypt(ctx, func(b cipher.Block) ([]byte, error) { return aesmode.Decrypt(b, m, ciphertext) })
}

func (k *secret) crypt(ctx context.Context, f func(cipher.Block) ([]byte, error)) ([]byte, error) {
	if err := k.t.enter(ctx); err != nil {
		return nil, err
	}
	defer k.t.leave()
	b, err := k.block(ctx)
	if err != nil {
		return nil, err
	}
	out, err := f(b)
	// With a chip that failed, what f says of the text means nothing.
	if err := b.failed(); err != nil {
		clear(out)
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("atecc608: %w", err)
	}
	return out, nil
}

// Export gives the value of a session key that may be shown. What is in a slot
// stays there.
func (k *secret) Export(ctx context.Context, types ...pkcs11.AttributeType) (pkcs11.Template, error) {
	if k.slot >= 0 || !slices.Contains(types, pkcs11.CKA_VALUE) {
		return nil, nil
	}
	if err := k.t.enter(ctx); err != nil {
		return nil, err
	}
	defer k.t.leave()
	return pkcs11.Template{pkcs11.Attr(pkcs11.CKA_VALUE, bytes.Clone(k.rec.value))}, nil
}

// A block is AES with the key of a slot, or with one in memory.
type block struct {
	cipher.Block // of a key in memory
	ctx          context.Context
	t            *Token
	slot         int
	err          error // the first; the bytes then mean nothing
}

// block returns AES with the key.
func (k *secret) block(ctx context.Context) (*block, error) {
	b := &block{ctx: ctx, t: k.t, slot: k.slot}
	if pkcs11.KeyType(k.attrs.Uint(pkcs11.CKA_KEY_TYPE)) != pkcs11.CKK_AES {
		return nil, fmt.Errorf("atecc608: %w: the key %q is no AES key", pkcs11.CKR_KEY_TYPE_INCONSISTENT, k.attrs.Text(pkcs11.CKA_LABEL))
	}
	if k.slot < 0 {
		var err error
		if b.Block, err = aes.NewCipher(k.rec.value); err != nil {
			return nil, fmt.Errorf("atecc608: %w: %w", pkcs11.CKR_KEY_SIZE_RANGE, err)
		}
	}
	return b, nil
}

func (b *block) BlockSize() int { return aes.BlockSize }

func (b *block) Encrypt(dst, src []byte) {
	if b.Block != nil {
		b.Block.Encrypt(dst, src)
		return
	}
	b.each(dst, src, (*atecc.Sequence).EncryptBlocks)
}

func (b *block) Decrypt(dst, src []byte) {
	if b.Block != nil {
		b.Block.Decrypt(dst, src)
		return
	}
	b.each(dst, src, (*atecc.Sequence).DecryptBlocks)
}

func (b *block) each(dst, src []byte, f func(s *atecc.Sequence, slot, block int, dst, src []byte) error) {
	if b.err != nil {
		return
	}
	var in [aes.BlockSize]byte // dst and src may be the same, and the sequence may run again
	copy(in[:], src)
	b.err = b.t.use(b.ctx, b.slot, func(s *atecc.Sequence) error { return f(s, b.slot, 0, dst[:aes.BlockSize], in[:]) })
	clear(in[:])
}

func (b *block) failed() error {
	if b.err != nil {
		return fmt.Errorf("atecc608: slot %d: %w", b.slot, b.err)
	}
	return nil
}

// cmac is AES-CMAC. RFC 4493, section 2.4.
func cmac(b cipher.Block, data []byte) []byte {
	var sub, mac [aes.BlockSize]byte
	b.Encrypt(sub[:], sub[:])
	double := func() {
		carry := sub[0] >> 7
		for i := range sub[:15] {
			sub[i] = sub[i]<<1 | sub[i+1]>>7
		}
		sub[15] = sub[15]<<1 ^ carry*0x87
	}
	double()
	for len(data) > aes.BlockSize {
		subtle.XORBytes(mac[:], mac[:], data[:aes.BlockSize])
		b.Encrypt(mac[:], mac[:])
		data = data[aes.BlockSize:]
	}
	if len(data) < aes.BlockSize {
		double()
		mac[len(data)] ^= 0x80
	}
	subtle.XORBytes(mac[:], mac[:], data)
	subtle.XORBytes(mac[:], mac[:], sub[:])
	b.Encrypt(mac[:], mac[:])
	return mac[:]
}

// holdsSecret reports whether the slot can take a secret key of the type without
// showing it on the bus.
func (t *Token) holdsSecret(s config.Slot, keyType int) bool {
	io, _ := t.zone.IOProtection()
	return s.Type() == keyType && s.Key&1 == 0 && s.Secret() && !s.ReadsEncrypted() && s.WritesEncrypted() && !s.Latched() &&
		s.Number != io && !t.authorizes(s.Number) && t.known(s.WriteKey()) != nil
}

// known is the host's copy of the key in a slot, nil if it has none.
func (t *Token) known(slot int) []byte {
	if io, on := t.zone.IOProtection(); on && slot == io && len(t.state.ioKey) == 32 {
		return t.state.ioKey
	}
	return nil
}

// importSecret puts a secret key into a slot, or keeps one of a session in memory.
// The gate is held.
func (t *Token) importSecret(ctx context.Context, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	value := template.Bytes(pkcs11.CKA_VALUE)
	attrs := without(template, pkcs11.CKA_VALUE).Set(pkcs11.Attr(pkcs11.CKA_VALUE_LEN, uint64(len(value)))).Clone()
	r := &record{name: newName(), slot: -1, main: attrs}
	if !template.Bool(pkcs11.CKA_TOKEN) {
		r.value = bytes.Clone(value)
		err := t.change(ctx, func() error {
			t.seq++
			r.seq = t.seq
			t.session[r] = true
			return t.save(r)
		})
		if err != nil {
			return nil, err
		}
		return t.objects[r.name], nil
	}
	keyType, err := secretType(template, len(value))
	if err != nil {
		return nil, err
	}
	for _, bad := range []struct {
		typ pkcs11.AttributeType
		is  bool
	}{{pkcs11.CKA_EXTRACTABLE, true}, {pkcs11.CKA_SENSITIVE, false}} {
		if a, ok := template.Get(bad.typ); ok && a.Bool() == bad.is {
			return nil, fmt.Errorf("atecc608: %v is %v: %w: a key in a slot is never read again", bad.typ, bad.is, pkcs11.CKR_TEMPLATE_INCONSISTENT)
		}
	}
	err = t.change(ctx, func() error {
		gone, err := t.replacing(replaces)
		if err != nil {
			return err
		}
		over, err := t.pickSecret(r, keyType, gone)
		if err != nil {
			return err
		}
		return t.placeSecret(ctx, r, gone, over, value)
	})
	if err != nil {
		return nil, err
	}
	return t.objects[r.name], nil
}

// secretType is the KeyType of the slot for a key.
func secretType(t pkcs11.Template, n int) (int, error) {
	switch typ := pkcs11.KeyType(t.Uint(pkcs11.CKA_KEY_TYPE)); typ {
	case pkcs11.CKK_AES:
		if n != aesKeySize {
			return 0, fmt.Errorf("atecc608: %w: the chip has AES-128 alone: keys of %d bytes, not %d", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, aesKeySize, n)
		}
		return config.TypeAES, nil
	case pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA256_HMAC:
		if n > maxHMACKey {
			return 0, fmt.Errorf("atecc608: %w: the chip takes HMAC keys of at most %d bytes, not %d", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, maxHMACKey, n)
		}
		return config.TypeOther, nil
	default:
		return 0, fmt.Errorf("atecc608: %w: the chip has no place for a key of type %v", pkcs11.CKR_TEMPLATE_INCONSISTENT, typ)
	}
}

// pickSecret chooses the slot of a secret key.
func (t *Token) pickSecret(r *record, keyType int, gone []part) (over *record, err error) {
	var taken []string
	for n := range config.Slots {
		s := t.zone.Slot(n)
		if !t.holdsSecret(s, keyType) {
			continue
		}
		have := t.recordOf(n)
		if have == nil {
			r.slot = n
			return nil, nil
		}
		if slices.ContainsFunc(gone, func(p part) bool { return p.r.name == have.name && p.main }) {
			r.slot = n
			return have, nil
		}
		taken = append(taken, fmt.Sprint(n))
	}
	if len(taken) > 0 {
		return nil, fmt.Errorf("atecc608: %w: the chip is full, with keys of this type in slots %s: destroy one that is not needed", pkcs11.CKR_DEVICE_MEMORY, strings.Join(taken, ", "))
	}
	io, on := t.zone.IOProtection()
	if !on || t.known(io) == nil {
		return nil, fmt.Errorf("atecc608: %w: the I/O protection key in slot %d is not known here, and without it a key would be seen on the bus; give it (io-key=FILE)", pkcs11.CKR_TEMPLATE_INCONSISTENT, io)
	}
	return nil, fmt.Errorf("atecc608: %w: no slot of this chip takes such a key encrypted (SlotConfig bits 7 and 14, KeyConfig bits 4 to 2 = %d)", pkcs11.CKR_TEMPLATE_INCONSISTENT, keyType)
}

// placeSecret writes a secret key into the slot of r: the slot first, then the
// record. What is in a slot without a record means nothing.
func (t *Token) placeSecret(ctx context.Context, r *record, gone []part, over *record, value []byte) error {
	t.seq++
	r.seq = t.seq
	for _, p := range gone {
		if p.whole() {
			r.replaces = append(r.replaces, p.r.name)
		}
	}
	if over != nil {
		// The old key is gone with the first byte of the new one.
		if err := t.drop(t.records[over.name], true, true); err != nil {
			return err
		}
	}
	var block [32]byte
	defer clear(block[:])
	copy(block[:], value)
	s := t.zone.Slot(r.slot)
	if err := t.dev.WriteSlotEncrypted(ctx, r.slot, 0, block[:], t.known(s.WriteKey())); err != nil {
		return fmt.Errorf("atecc608: slot %d: %w", r.slot, err)
	}
	if err := t.save(r); err != nil {
		return err
	}
	t.state.dirty &^= 1 << r.slot
	for _, p := range gone {
		if old := t.records[p.r.name]; old != nil {
			if err := t.drop(old, p.main || p.r.main == nil, p.public || p.r.public == nil); err != nil {
				return err
			}
		}
	}
	return t.wipe(ctx)
}

// overwriteSlot makes an end of what is in a slot: by random bytes where it is
// secret, else by FF, as if it were new.
func (t *Token) overwriteSlot(ctx context.Context, slot int) error {
	s := t.zone.Slot(slot)
	b := bytes.Repeat([]byte{0xFF}, s.Size())
	switch {
	case s.Secret() && s.WritesEncrypted():
		key := t.known(s.WriteKey())
		if key == nil {
			return fmt.Errorf("%w: the key in slot %d that protects it is not known here; give it (io-key=FILE)", pkcs11.CKR_ACTION_PROHIBITED, s.WriteKey())
		}
		b = b[:32]
		rand.Read(b)
		return t.dev.WriteSlotEncrypted(ctx, slot, 0, b, key)
	case s.WritesClear() || s.WritesInvalid():
		return t.dev.WriteSlot(ctx, slot, 0, b)
	}
	return fmt.Errorf("%w: %s", pkcs11.CKR_ACTION_PROHIBITED, stays(s.Locked))
}

// without returns a template less an attribute.
func without(t pkcs11.Template, typ pkcs11.AttributeType) pkcs11.Template {
	out := make(pkcs11.Template, 0, len(t))
	for _, a := range t {
		if a.Type != typ {
			out = append(out, a)
		}
	}
	return out
}
