package atecc608_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// slotIOKey is the I/O protection key of slotChip.
var slotIOKey = bytes.Repeat([]byte{0xA7, 0x3C}, 16)

// slotChip is a blank chip made a token that keeps its records in slots, all that
// suit or those that are named.
func slotChip(t testing.TB, configuration string, slots ...int) *ateccsim.State {
	t.Helper()
	chip := newChip(t, ateccsim.Blank(ateccsim.DefaultSerial), nil)
	if _, err := provision(t.Context(), chip, true, atecc608.ProvisionOptions{Plan: plan(t, configuration), Slots: append([]int{}, slots...), IOKey: slotIOKey, Label: "gateway"}); err != nil {
		t.Fatal(err)
	}
	return chip.State()
}

func inSlots(key []byte) *atecc608.Options {
	return &atecc608.Options{Slots: []int{}, IOKey: key, Chip: atecc.Opts{Timeout: 20 * time.Second}}
}

// certificate is one for the key as a CA makes it, with a common name of that
// length.
func certificate(t testing.TB, key *ecdsa.PublicKey, name int) pkcs11.Template {
	t.Helper()
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, name)
	rand.Read(text)
	serial := new(big.Int).SetBytes(text[:4])
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: fmt.Sprintf("%x", text)[:name]},
		NotBefore: time.Unix(1_790_000_000, 0), NotAfter: time.Unix(2_000_000_000, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}}, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	return pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_CERTIFICATE)), pkcs11.Attr(pkcs11.CKA_CERTIFICATE_TYPE, uint64(pkcs11.CKC_X_509)),
		pkcs11.Attr(pkcs11.CKA_LABEL, "Device Cert"), pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_VALUE, der),
	}
}

// identify makes a token what a device needs, as a program does it: a key and its
// certificate. It closes the token.
func identify(t testing.TB, token *atecc608.Token) *x509.Certificate {
	t.Helper()
	m, err := cryptoki.NewModule(nil, token)
	if err != nil {
		t.Fatal(err)
	}
	slots, err := m.Slots(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	app, err := cryptoki.NewToken(t.Context(), m, slots[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	key, err := app.GenerateKey(t.Context(), cryptoki.KeySpec{Label: cryptoki.DevicePrivateKey, Algorithm: cryptoki.P256})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(certificate(t, key.Public().(*ecdsa.PublicKey), 8).Bytes(pkcs11.CKA_VALUE))
	if err != nil {
		t.Fatal(err)
	}
	if err := app.ImportCertificate(t.Context(), cryptoki.DeviceCert, cert); err != nil {
		t.Fatal(err)
	}
	return cert
}

// The suite's certificates have 630 bytes, and are not for the keys of the token.
// What does not fit beside one ends with CKR_DEVICE_MEMORY, and the list says which
// cases do. That it is always the same ones takes room for 424 bytes: at 370 and at
// 445 there are some that fit or not, as their random bytes have it.
func TestConformanceInSlots(t *testing.T) {
	slots := []int{8, 9, 10, 11, 12, 13, 14}
	var state *ateccsim.State
	synctest.Test(t, func(t *testing.T) { state = slotChip(t, "generic-slots", slots...) })
	conform(t, "outcomes-slots.txt", func(t testing.TB) conformance.Target {
		chip := newChip(t, state, nil)
		return conformance.Target{
			Open: func(ctx context.Context) (driver.Token, error) {
				opts := inSlots(nil)
				opts.Slots = slots
				token, err := atecc608.New(ctx, chip, opts)
				if err != nil {
					return nil, err
				}
				return token, nil
			},
			Profile: conformance.Profile{EC: true, Generate: true},
		}
	}, pkcs11.CKR_DEVICE_MEMORY)
}

// A chip takes its labels and certificates along to another gateway, and no secret
// of the host.
func TestChipMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			configuration string
			slots         []int
			labels        bool // and its room is for more than the identity
		}{{"generic-slots", []int{}, true}, {"generic", []int{8, 10, 11, 12, 13, 15}, false}} {
			configuration := tt.configuration
			chip := newChip(t, slotChip(t, configuration), nil)
			opts := inSlots(slotIOKey)
			opts.Slots = tt.slots
			if !tt.labels { // what init has written is in fewer slots
				opts.IOKey = provisioned(t).Slot(6)[:32]
				chip = newChip(t, provisioned(t), nil)
			}
			token, err := atecc608.New(t.Context(), chip, opts)
			if err != nil {
				t.Fatal(err)
			}
			cert := identify(t, token)
			want := []byte(nil)
			if tt.labels {
				token, err = atecc608.New(t.Context(), chip, opts)
				if err != nil {
					t.Fatal(err)
				}
				want = []byte{1, 2}
				priv := objects(t, token, cryptoki.DevicePrivateKey)[0]
				if _, err := token.Update(t.Context(), priv, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "renamed"), pkcs11.Attr(pkcs11.CKA_ID, want)}); err != nil {
					t.Fatal(err)
				}
				if err := token.Close(); err != nil {
					t.Fatal(err)
				}
			}
			all, err := chip.State().MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(all, opts.IOKey); n != 1 {
				t.Errorf("%s: the I/O protection key is in the chip %d times", configuration, n)
			}

			// Another gateway, without any file.
			classes := make(map[pkcs11.ObjectClass]int)
			opts.IOKey = nil
			moved := openToken(t, chip.State(), opts)
			for _, o := range objects(t, moved, "renamed", cryptoki.DevicePrivateKey, cryptoki.DeviceCert) {
				found := pkcs11.ObjectClass(o.Attributes().Uint(pkcs11.CKA_CLASS))
				switch {
				case found == pkcs11.CKO_PRIVATE_KEY:
					mustSign(t, o)
					if (o.Attributes().Text(pkcs11.CKA_LABEL) == "renamed") != tt.labels || want != nil && !bytes.Equal(o.Attributes().Bytes(pkcs11.CKA_ID), want) {
						t.Errorf("%s: the key is %q, its ID %x", configuration, o.Attributes().Text(pkcs11.CKA_LABEL), o.Attributes().Bytes(pkcs11.CKA_ID))
					}
				case found == pkcs11.CKO_CERTIFICATE && !bytes.Equal(o.Attributes().Bytes(pkcs11.CKA_VALUE), cert.Raw):
					t.Errorf("%s: another certificate", configuration)
				}
				classes[found]++
			}
			if classes[pkcs11.CKO_PRIVATE_KEY] != 1 || classes[pkcs11.CKO_PUBLIC_KEY] != 1 || classes[pkcs11.CKO_CERTIFICATE] != 1 {
				t.Errorf("%s: %v moved", configuration, classes)
			}
			if label := moved.Info().Label; configuration == "generic-slots" && label != "gateway" {
				t.Errorf("the token is labelled %q", label)
			}
			// The slots themselves are no objects.
			for n := range 16 {
				if found := objects(t, moved, fmt.Sprint("Slot ", n)); len(found) > 0 {
					t.Errorf("%s: slot %d shows as data", configuration, n)
				}
			}
		}
	})
}

// What the slots cannot do is said with the slot, the size and what to do.
func TestInSlotsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := openToken(t, slotChip(t, "generic-slots"), inSlots(slotIOKey))
		pub, priv := generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)
		key, err := driver.PublicKey(pub.Attributes())
		if err != nil {
			t.Fatal(err)
		}
		_, err = token.CreateObject(t.Context(), certificate(t, key.(*ecdsa.PublicKey), 600), nil)
		wantError(t, "a certificate that is too large", err, pkcs11.CKR_DEVICE_MEMORY, "slots 7, 8, 9, 10, 11, 12, 13, 14, 15: store is full: they have room for two copies of 472 bytes, and the records need")
		wantError(t, "a certificate that is too large", err, pkcs11.CKR_DEVICE_MEMORY, "keep the records in a directory (dir=PATH)")
		if got := objects(t, token, "Device Priv TLS Key", "Device Cert"); len(got) != 1 {
			t.Errorf("%d objects afterwards", len(got))
		}
		mustSign(t, priv)
		err = token.WriteData(t.Context(), 8, 0, make([]byte, 4))
		wantError(t, "write into the records", err, pkcs11.CKR_ACTION_PROHIBITED, "slot 8: CKR_ACTION_PROHIBITED: the token keeps its records there")
		if err := token.ReadData(t.Context(), 8, 0, make([]byte, 32)); err != nil {
			t.Error(err)
		}
		// A public key with a place of its own in generic is a record here.
		if _, err := token.CreateObject(t.Context(), publicTemplate(t, "Code Verify Key"), nil); err != nil {
			t.Fatal(err)
		}
		// Locked, what is there stays, for good.
		if err := token.LockSlot(t.Context(), 12); err != nil {
			t.Fatal(err)
		}
		_, err = token.Update(t.Context(), priv, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "other")})
		wantError(t, "a locked slot", err, pkcs11.CKR_TOKEN_WRITE_PROTECTED, "store is read-only: slot 12 is locked for good")
		for _, o := range objects(t, token, "Device Priv TLS Key") {
			mustSign(t, o)
		}

		_, err = atecc608.New(t.Context(), newChip(t, provisioned(t), nil), &atecc608.Options{Slots: []int{8}, Store: new(pal.Mem)})
		wantError(t, "two places", err, pkcs11.CKR_ARGUMENTS_BAD, "in a store or in slots, not in both")
		_, err = provision(t.Context(), newChip(t, ateccsim.Blank(ateccsim.DefaultSerial), nil), true, atecc608.ProvisionOptions{Plan: plan(t, "generic"), Slots: []int{}})
		wantError(t, "no I/O protection key", err, pkcs11.CKR_ARGUMENTS_BAD, "cannot be kept in slots that everybody may read; give one (io-key=FILE)")
		for name, text := range map[string]string{
			"atecc608:bus=1;store=slots;dir=/x": "in a directory (dir) or in slots (store), not in both",
			"atecc608:bus=1;store=8,x":          `store: "x" is no slot`,
			"atecc608:bus=1;store=slot":         `store: "slot" is no slot`,
		} {
			_, err := cryptoki.Open(t.Context(), name, nil)
			wantError(t, name, err, pkcs11.CKR_ARGUMENTS_BAD, text)
		}
	})
}

// A certificate that is written, and a label that is changed, are so or not,
// whatever happens: the power goes before each byte and at each transfer.
func TestInSlotsFaults(t *testing.T) {
	type view map[string]string // labels and values of certificates
	look := func(t *testing.T, token *atecc608.Token) view {
		v := view{}
		list, err := token.Objects(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			if class := pkcs11.ObjectClass(o.Attributes().Uint(pkcs11.CKA_CLASS)); class != pkcs11.CKO_HW_FEATURE {
				v[fmt.Sprint(class, o.Attributes().Text(pkcs11.CKA_LABEL))] = string(o.Attributes().Bytes(pkcs11.CKA_VALUE))
			}
		}
		return v
	}
	var state *ateccsim.State
	var cert pkcs11.Template
	synctest.Test(t, func(t *testing.T) {
		chip := newChip(t, slotChip(t, "generic-slots"), nil)
		token, err := atecc608.New(t.Context(), chip, inSlots(slotIOKey))
		if err != nil {
			t.Fatal(err)
		}
		pub, _ := generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)
		key, err := driver.PublicKey(pub.Attributes())
		if err != nil {
			t.Fatal(err)
		}
		cert = certificate(t, key.(*ecdsa.PublicKey), 8)
		token.Close()
		state = chip.State()
	})
	class := func(c pkcs11.ObjectClass, label string) string { return fmt.Sprint(c, label) }
	private, public := class(pkcs11.CKO_PRIVATE_KEY, "Device Priv TLS Key"), class(pkcs11.CKO_PUBLIC_KEY, "Device Pub TLS Key")
	before := view{private: "", public: ""}
	for _, op := range []struct {
		name  string
		after view
		run   func(ctx context.Context, token *atecc608.Token) error
	}{
		{"write a certificate", view{private: "", public: "", class(pkcs11.CKO_CERTIFICATE, "Device Cert"): string(cert.Bytes(pkcs11.CKA_VALUE))},
			func(ctx context.Context, token *atecc608.Token) error {
				_, err := token.CreateObject(ctx, cert, nil)
				return err
			}},
		{"set a label", view{class(pkcs11.CKO_PRIVATE_KEY, "another label"): "", public: ""},
			func(ctx context.Context, token *atecc608.Token) error {
				objects, err := token.Objects(ctx)
				if err != nil {
					return err
				}
				_, err = token.Update(ctx, labelled(objects, "Device Priv TLS Key")[0], pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "another label")})
				return err
			}},
	} {
		t.Run(op.name, func(t *testing.T) {
			for i, kind := range busFaults {
				first, step := 1+i%5, 5
				switch {
				case kind == ateccsim.PowerCut && !slow:
					first, step = 1, 1
				case kind == ateccsim.PowerCut, kind == ateccsim.PowerCutTx:
					first, step = 1+i%3, 3
				case slow:
					first, step = 1+i%17, 17
				}
				synctest.Test(t, func(t *testing.T) {
					old, places := 0, 0
					for at := first; ; at += step {
						faults := ateccsim.NewFaults(uint64(at), ateccsim.Rule{Kind: kind, At: at, Count: 1})
						chip := newChip(t, state, &ateccsim.Options{Faults: faults})
						token, err := atecc608.New(t.Context(), chip, inSlots(slotIOKey))
						if err == nil {
							err = op.run(t.Context(), token)
							token.Close()
						}
						if faults.Fired() == 0 {
							if err != nil {
								t.Fatalf("without a fault: %v", err)
							}
							break
						}
						places++
						chip.PowerOff()
						chip.PowerOn()
						again, openErr := atecc608.New(t.Context(), chip, inSlots(slotIOKey))
						if openErr != nil {
							t.Fatalf("%s at %d: open again: %v", kind, at, openErr)
						}
						switch got := look(t, again); {
						case err != nil && maps.Equal(got, before):
							old++
						case !maps.Equal(got, op.after):
							t.Fatalf("%s at %d: neither as before nor as it should be: %v (after %v)", kind, at, got, err)
						}
						again.Close()
					}
					t.Logf("%s: %d places, in %d everything is as before", kind, places, old)
				})
			}
		})
	}
}

// A slot with records is not taken for the public key whose place it is.
func TestRecordsKeepTheirSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := newChip(t, provisioned(t), nil)
		opts := &atecc608.Options{Slots: []int{8, 10, 12, 13, 15}}
		token, err := atecc608.New(t.Context(), chip, opts)
		if err != nil {
			t.Fatal(err)
		}
		generate(t, token, "key", "key", nil)
		if _, err := token.CreateObject(t.Context(), publicTemplate(t, "Code Verify Key"), nil); err != nil {
			t.Fatal(err)
		}
		token.Close()
		if got := objects(t, openToken(t, chip.State(), opts), "key", "Code Verify Key"); len(got) != 3 {
			t.Errorf("%d objects, want 3", len(got))
		}
	})
}

// Provisioning that was interrupted goes on where it was, and the label is there.
func TestProvisionSlotsPowerCuts(t *testing.T) {
	step := 5
	if slow {
		step = 37
	}
	synctest.Test(t, func(t *testing.T) {
		for at := 1; ; at += step {
			chip := newChip(t, ateccsim.Blank(ateccsim.DefaultSerial), &ateccsim.Options{
				Faults: ateccsim.NewFaults(1, ateccsim.Rule{Kind: ateccsim.PowerCut, At: at}),
			})
			opts := atecc608.ProvisionOptions{Plan: plan(t, "generic-slots"), Slots: []int{}, IOKey: slotIOKey, Label: "gateway"}
			_, err := provision(t.Context(), chip, true, opts)
			cut := chip.Off()
			if cut == (err == nil) {
				t.Fatalf("byte %d: %v", at, err)
			}
			chip.PowerOn()
			if _, err := provision(t.Context(), chip, true, opts); err != nil {
				t.Fatalf("byte %d: again: %v", at, err)
			}
			token, err := atecc608.New(t.Context(), chip, inSlots(slotIOKey))
			if err != nil {
				t.Fatalf("byte %d: %v", at, err)
			}
			if label := token.Info().Label; label != "gateway" {
				t.Fatalf("byte %d: the label is %q", at, label)
			}
			token.Close()
			if !cut {
				t.Logf("%d cuts", at/step)
				return
			}
		}
	})
}

// doctor reads the records in slots.
func TestDiagnoseSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := newChip(t, slotChip(t, "generic-slots"), nil)
		token, err := atecc608.New(t.Context(), chip, inSlots(slotIOKey))
		if err != nil {
			t.Fatal(err)
		}
		generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)
		token.Close()
		if f := last(atecc608.Diagnose(t.Context(), chip, inSlots(nil))); f.Name != "store" || f.Severity != driver.Good || !strings.HasPrefix(f.Text, "1 objects of slots 7, 8, 9,") {
			t.Errorf("slots with records: %+v", f)
		}
		state := chip.State()
		state.Slot(8)[3]++
		state.Slot(9)[70]++
		for _, n := range []int{9, 10, 11} { // where the second copy begins
			for i := range state.Slot(n) {
				state.Slot(n)[i] ^= 1
			}
		}
		if f := worst(atecc608.Diagnose(t.Context(), newChip(t, state, nil), inSlots(nil))); f.Name != "store" || f.Severity != driver.Problem || !strings.Contains(f.Text, "both copies are damaged") {
			t.Errorf("damaged slots: %+v", f)
		}
		if f := worst(atecc608.Diagnose(t.Context(), newChip(t, provisioned(t), nil), &atecc608.Options{Slots: []int{9}})); f.Name != "store" || !strings.Contains(f.Text, "slot 9: CKR_ARGUMENTS_BAD: it is never read") {
			t.Errorf("a slot that does not suit: %+v", f)
		}
	})
}
