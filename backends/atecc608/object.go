package atecc608

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// object is what all objects have.
type object struct {
	t     *Token
	rec   *record // nil of what is on the chip alone
	slot  int     // -1 for none
	id    string
	attrs pkcs11.Template
}

// ID is the name of the record, or made of the slot and what is in it.
func (o *object) ID() string { return o.id }

// Attributes are those of the record, or what the chip tells.
func (o *object) Attributes() pkcs11.Template { return o.attrs }

func (o *object) base() *object { return o }

// A based object is one of this package.
type based interface{ base() *object }

// publicSuffix makes the ID of a public key of that of its private key.
const publicSuffix = "-public"

// arrange makes t.objects and t.order of the records and of what is on the chip.
// An object that is as it was stays the same value. The gate is held.
func (t *Token) arrange(ctx context.Context) error {
	if err := t.findKeys(ctx); err != nil {
		return err
	}
	if err := t.readSlots(ctx); err != nil {
		return err
	}
	old := t.objects
	t.objects, t.order = make(map[string]driver.Object, len(old)), nil
	add := func(make func(object) driver.Object, o object, token bool) {
		have := old[o.id]
		if have == nil || !have.Attributes().Equal(o.attrs) || have.(based).base().rec != o.rec {
			o.t = t
			have = make(o)
		}
		t.objects[o.id] = have
		if token {
			t.order = append(t.order, have)
		}
	}
	for n := range config.Slots {
		pub := t.chipKeys[n]
		if pub == nil || t.recordOf(n) != nil {
			continue
		}
		main, public := t.found(n, pub)
		id := foundID(n, pub)
		add(newPrivate, object{slot: n, id: id, attrs: main}, true)
		add(newPlain, object{slot: n, id: id + publicSuffix, attrs: public}, true)
	}
	for _, o := range t.chipObjs {
		t.objects[o.ID()] = o
		t.order = append(t.order, o)
	}
	for _, r := range t.bySeq() {
		token := !t.session[r]
		if r.main != nil {
			add(constructor(r.main), object{rec: r, slot: r.slot, id: r.name, attrs: r.main}, token && r.main.Bool(pkcs11.CKA_TOKEN))
		}
		if r.public != nil {
			add(newPlain, object{rec: r, slot: r.slot, id: r.name + publicSuffix, attrs: r.public}, token && r.public.Bool(pkcs11.CKA_TOKEN))
		}
	}
	return nil
}

// foundID is the ID of a key that no record names. Another key in the same slot
// has another one.
func foundID(slot int, pub *ecdsa.PublicKey) string {
	b, err := pub.Bytes()
	if err != nil {
		return fmt.Sprintf("slot-%d", slot)
	}
	sum := sha256.Sum256(b)
	return fmt.Sprintf("slot-%d-%s", slot, hex.EncodeToString(sum[:4]))
}

func constructor(t pkcs11.Template) func(object) driver.Object {
	switch pkcs11.ObjectClass(t.Uint(pkcs11.CKA_CLASS)) {
	case pkcs11.CKO_PRIVATE_KEY:
		return newPrivate
	case pkcs11.CKO_SECRET_KEY:
		return newSecret
	}
	return newPlain
}

// A plain object is only its attributes: a public key, a certificate, data.
type plain struct{ object }

func newPlain(o object) driver.Object { return &plain{o} }

// found is what is known of a private key that the store does not know, and of its
// public key.
func (t *Token) found(slot int, pub *ecdsa.PublicKey) (main, public pkcs11.Template) {
	s := t.zone.Slot(slot)
	label, publicLabel := t.labels(slot)
	local := t.preprovisioned()
	common := pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_TOKEN, true),
		pkcs11.Attr(pkcs11.CKA_LOCAL, local),
		pkcs11.Attr(pkcs11.CKA_MODIFIABLE, t.opts.Store != nil),
		pkcs11.Attr(pkcs11.CKA_COPYABLE, false),
	}
	if local {
		common = append(common, pkcs11.Attr(pkcs11.CKA_KEY_GEN_MECHANISM, uint64(pkcs11.CKM_EC_KEY_PAIR_GEN)))
	}
	main = append(pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)),
		pkcs11.Attr(pkcs11.CKA_LABEL, label),
		pkcs11.Attr(pkcs11.CKA_PRIVATE, true),
		pkcs11.Attr(pkcs11.CKA_SENSITIVE, true),
		pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, false),
		// Who made it, and where it was before, nobody can tell, unless it was made
		// where the chip was.
		pkcs11.Attr(pkcs11.CKA_ALWAYS_SENSITIVE, local),
		pkcs11.Attr(pkcs11.CKA_NEVER_EXTRACTABLE, local),
		pkcs11.Attr(pkcs11.CKA_SIGN, s.SignsDigests()),
		pkcs11.Attr(pkcs11.CKA_DERIVE, s.ECDH()),
		pkcs11.Attr(pkcs11.CKA_DECRYPT, false),
		pkcs11.Attr(pkcs11.CKA_UNWRAP, false),
		pkcs11.Attr(pkcs11.CKA_SIGN_RECOVER, false),
		pkcs11.Attr(pkcs11.CKA_DESTROYABLE, s.Generates() && t.opts.Store != nil),
	}, common...)
	if restricts(s) {
		main = append(main, pkcs11.Attr(pkcs11.CKA_ALLOWED_MECHANISMS, allowed(s)))
	}
	public = append(pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)),
		pkcs11.Attr(pkcs11.CKA_LABEL, publicLabel),
		pkcs11.Attr(pkcs11.CKA_PRIVATE, false),
		pkcs11.Attr(pkcs11.CKA_VERIFY, true),
		pkcs11.Attr(pkcs11.CKA_ENCRYPT, false),
		pkcs11.Attr(pkcs11.CKA_WRAP, false),
		pkcs11.Attr(pkcs11.CKA_VERIFY_RECOVER, false),
		pkcs11.Attr(pkcs11.CKA_DERIVE, false),
		pkcs11.Attr(pkcs11.CKA_DESTROYABLE, false),
	}, common...)
	// The templates have no components that could contradict the key.
	if c, err := driver.CompletePrivate(main, pub); err == nil {
		main = c
	}
	if c, err := driver.CompletePublic(public, pub); err == nil {
		public = c
	}
	return main, public
}

// restricts reports whether the policy of a private key forbids some of what keys
// on P-256 do.
func restricts(s config.Slot) bool { return !s.SignsDigests() || !s.ECDH() }

// allowed are the mechanisms that the policy of a private key permits.
func allowed(s config.Slot) []pkcs11.MechanismType {
	list := []pkcs11.MechanismType{}
	if s.SignsDigests() {
		list = append(list, pkcs11.CKM_ECDSA)
		for _, h := range keys.Hashes() {
			if m, ok := keys.Join(pkcs11.CKM_ECDSA, h); ok {
				list = append(list, m)
			}
		}
	}
	if s.ECDH() {
		list = append(list, pkcs11.CKM_ECDH1_DERIVE)
	}
	return list
}

// labels are those of the keys in a slot that the store does not know.
func (t *Token) labels(slot int) (private, public string) {
	if l, ok := t.opts.Labels[slot]; ok {
		return l, l
	}
	if slot == 0 {
		return devicePrivateKey, devicePublicKey
	}
	l := fmt.Sprintf("Slot %d Key", slot)
	return l, l
}

// The well-known labels that have a slot of their own: those of package cryptoki,
// which backends do not import.
const (
	devicePrivateKey = "Device Priv TLS Key"
	devicePublicKey  = "Device Pub TLS Key"
	deviceCert       = "Device Cert"
	codeVerifyKey    = "Code Verify Key"
)
