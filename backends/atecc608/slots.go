package atecc608

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/compcert"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

//go:embed templates/simulated.pem
var simulated []byte

// builtIn are the families of certificates that need no file.
var builtIn = sync.OnceValue(func() []*compcert.Family {
	f, err := compcert.ParseTemplates(simulated)
	if err != nil {
		panic("atecc608: the built-in templates are malformed: " + err.Error())
	}
	return []*compcert.Family{f}
})

// preprovisioned reports whether the chip is one of those that leave their vendor
// locked and with keys in them, which were made in the chip.
func (t *Token) preprovisioned() bool {
	serial := t.zone.Serial()
	return serial[8] == 0x01
}

// chipSlot is what is read of a slot that everybody may read.
type chipSlot struct {
	content []byte           // of a data slot
	key     *ecdsa.PublicKey // of a slot for a public key
	valid   bool
}

// readSlots reads what everybody may read, once, and makes objects of it:
// certificates of the compressed ones, public keys, data, counters. The gate is
// held.
func (t *Token) readSlots(ctx context.Context) error {
	if t.chipObjs != nil {
		return nil
	}
	slots := make(map[int]*chipSlot)
	for n := range config.Slots {
		s := t.zone.Slot(n)
		if !s.ReadsClear() || t.inSlots.keeps(n) {
			continue
		}
		c, err := t.readSlot(ctx, s)
		if err != nil {
			return fmt.Errorf("atecc608: slot %d: %w", n, err)
		}
		if c != nil {
			slots[n] = c
		}
	}
	t.chipObjs = []driver.Object{} // not nil: they have been read
	t.chipSlots = slots
	certified := t.certificates(slots)
	for n := range config.Slots {
		c := slots[n]
		if c == nil || certified[n] || t.recordOf(n) != nil {
			continue
		}
		if c.key != nil {
			t.showPublic(n, c)
		} else if c.content != nil && t.zone.Slot(n).Type() != config.TypeP256 {
			t.showData(n, c)
		}
	}
	t.showCounters()
	return nil
}

// readSlot reads a slot, nil if there is nothing in it.
func (t *Token) readSlot(ctx context.Context, s config.Slot) (*chipSlot, error) {
	if s.PublicKey() {
		pub, valid, err := t.dev.ReadPublicKey(ctx, s.Number)
		if errors.Is(err, atecc.StatusECC) {
			return nil, nil
		}
		return &chipSlot{key: pub, valid: valid}, err
	}
	b := make([]byte, s.Size())
	head := min(len(b), 32)
	if err := t.dev.ReadSlot(ctx, s.Number, 0, b[:head]); err != nil {
		return nil, err
	}
	if blank(b[:head]) {
		return nil, nil
	}
	return &chipSlot{content: b}, t.dev.ReadSlot(ctx, s.Number, head, b[head:])
}

// blank reports what a slot holds in which nothing was ever written.
func blank(b []byte) bool { return len(bytes.Trim(b, "\xff")) == 0 || len(bytes.Trim(b, "\x00")) == 0 }

// certificates rebuilds compressed certificates, and reports the slots that belong
// to them.
func (t *Token) certificates(slots map[int]*chipSlot) map[int]bool {
	families := t.opts.Certificates
	if families == nil {
		families = builtIn()
	}
	done := make(map[int]bool)
	for _, f := range families {
		used := false
		for _, template := range f.Templates {
			c := slots[template.CertSlot]
			if c == nil || len(c.content) != compcert.Size || done[template.CertSlot] {
				continue
			}
			compressed, err := compcert.Parse(c.content)
			if err != nil || compressed.Template != template.Number || compressed.Chain != template.Chain {
				continue
			}
			cert := t.rebuild(f, template, compressed, slots)
			if cert == nil {
				continue
			}
			done[template.CertSlot], used = true, true
			label := "Signer Cert"
			if template.KeySlot == 0 {
				label = deviceCert
			} else {
				done[template.KeySlot] = true
			}
			t.showCertificate(template.CertSlot, label, cert)
		}
		if used {
			for i, root := range f.Roots {
				t.showCertificate(-1-i, "Chip Root Cert", root)
			}
		}
	}
	return done
}

// rebuild tries the issuers that there are.
func (t *Token) rebuild(f *compcert.Family, template *compcert.Template, c *compcert.Compressed, slots map[int]*chipSlot) *x509.Certificate {
	chip := &compcert.Chip{Serial: t.zone.Serial(), Key: t.chipKeys[template.KeySlot]}
	if s := slots[template.KeySlot]; s != nil {
		chip.Key = s.key
	}
	if r := t.recordOf(template.KeySlot); r != nil && chip.Key == nil {
		if pub, err := driver.PublicKey(r.main); err == nil {
			chip.Key, _ = pub.(*ecdsa.PublicKey)
		}
	}
	if chip.Key == nil {
		return nil
	}
	var issuers []*ecdsa.PublicKey
	for _, root := range f.Roots {
		if key, ok := root.PublicKey.(*ecdsa.PublicKey); ok {
			issuers = append(issuers, key)
		}
	}
	for n := range config.Slots {
		if s := slots[n]; s != nil && s.key != nil {
			issuers = append(issuers, s.key)
		}
	}
	for _, issuer := range issuers {
		chip.Issuer = issuer
		if cert, _, err := c.Rebuild([]*compcert.Template{template}, chip); err == nil {
			return cert
		}
	}
	return nil
}

func (t *Token) show(o object) {
	o.t = t
	t.chipObjs = append(t.chipObjs, newPlain(o))
}

// fixed are the attributes of what is on the chip and of no record.
func fixed(class pkcs11.ObjectClass, label string) pkcs11.Template {
	return pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(class)),
		pkcs11.Attr(pkcs11.CKA_TOKEN, true),
		pkcs11.Attr(pkcs11.CKA_PRIVATE, false),
		pkcs11.Attr(pkcs11.CKA_MODIFIABLE, false),
		pkcs11.Attr(pkcs11.CKA_COPYABLE, false),
		pkcs11.Attr(pkcs11.CKA_DESTROYABLE, false),
		pkcs11.Attr(pkcs11.CKA_LABEL, label),
	}
}

func (t *Token) showCertificate(slot int, label string, cert *x509.Certificate) {
	serial, err := asn1.Marshal(cert.SerialNumber)
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if err != nil || !ok {
		return
	}
	attrs := append(fixed(pkcs11.CKO_CERTIFICATE, label),
		pkcs11.Attr(pkcs11.CKA_CERTIFICATE_TYPE, uint64(pkcs11.CKC_X_509)),
		pkcs11.Attr(pkcs11.CKA_SUBJECT, cert.RawSubject),
		pkcs11.Attr(pkcs11.CKA_ISSUER, cert.RawIssuer),
		pkcs11.Attr(pkcs11.CKA_SERIAL_NUMBER, serial),
		pkcs11.Attr(pkcs11.CKA_VALUE, cert.Raw))
	if pub, err := driver.CompletePublic(nil, key); err == nil {
		attrs = append(attrs, pkcs11.Attr(pkcs11.CKA_ID, pub.Bytes(pkcs11.CKA_ID)))
	}
	t.show(object{slot: slot, id: chipID("certificate", slot, cert.Raw), attrs: attrs})
}

// chipID is the ID of what a slot holds: something else in it has another one.
func chipID(what string, slot int, content []byte) string {
	sum := sha256.Sum256(content)
	return fmt.Sprintf("%s-%d-%s", what, slot, hex.EncodeToString(sum[:4]))
}

// publicLabels are those of slots for public keys in the configurations that are
// known.
var publicLabels = map[int]string{11: "Signer Public Key", 13: codeVerifyKey, 14: "Validated Code Verify Key", 15: "Root Public Key"}

// publicLabel is the label of a slot for a public key.
func (t *Token) publicLabel(slot int) string {
	if label, ok := t.opts.Labels[slot]; ok {
		return label
	}
	if label, ok := publicLabels[slot]; ok {
		return label
	}
	return fmt.Sprintf("Slot %d Public Key", slot)
}

func (t *Token) showPublic(slot int, c *chipSlot) {
	label := t.publicLabel(slot)
	// One that is not validated verifies nothing.
	verifies := !t.zone.Slot(slot).Validated() || c.valid
	attrs, err := driver.CompletePublic(append(fixed(pkcs11.CKO_PUBLIC_KEY, label),
		pkcs11.Attr(pkcs11.CKA_VERIFY, verifies),
		pkcs11.Attr(pkcs11.CKA_ENCRYPT, false),
		pkcs11.Attr(pkcs11.CKA_WRAP, false),
		pkcs11.Attr(pkcs11.CKA_DERIVE, false),
		pkcs11.Attr(pkcs11.CKA_VERIFY_RECOVER, false),
		pkcs11.Attr(pkcs11.CKA_LOCAL, false)), c.key)
	if err != nil {
		return
	}
	t.show(object{slot: slot, id: chipID("public", slot, attrs.Bytes(pkcs11.CKA_EC_POINT)), attrs: attrs})
}

func (t *Token) showData(slot int, c *chipSlot) {
	label, ok := t.opts.Labels[slot]
	if !ok {
		label = fmt.Sprintf("Slot %d", slot)
	}
	t.show(object{slot: slot, id: chipID("data", slot, c.content), attrs: append(fixed(pkcs11.CKO_DATA, label),
		pkcs11.Attr(pkcs11.CKA_APPLICATION, "ATECC608"),
		pkcs11.Attr(pkcs11.CKA_VALUE, c.content))})
}

// showCounters shows the two monotonic counters. Their values are with
// Token.Counter: an attribute would be as old as the object.
func (t *Token) showCounters() {
	for n := range 2 {
		t.show(object{slot: -1, id: fmt.Sprintf("counter-%d", n), attrs: pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_HW_FEATURE)),
			pkcs11.Attr(pkcs11.CKA_HW_FEATURE_TYPE, uint64(pkcs11.CKH_MONOTONIC_COUNTER)),
			pkcs11.Attr(pkcs11.CKA_RESET_ON_INIT, false),
			pkcs11.Attr(pkcs11.CKA_HAS_RESET, false),
			pkcs11.Attr(pkcs11.CKA_LABEL, fmt.Sprintf("Counter %d", n)),
			pkcs11.Attr(pkcs11.CKA_TOKEN, true),
		}})
	}
}
