package soft

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var rerecord = flag.Bool("record", false, "write testdata/v2*.txt anew: only for a format that nobody has stored yet")

// fillGolden makes one object of every kind. Their names say what they are.
func fillGolden(t *testing.T, token *Token) {
	t.Helper()
	for _, k := range kinds {
		generateKind(t, token, k.name)
	}
	for name, n := range map[string]uint64{"AES": 32, "HMAC": 20} {
		typ, gen := pkcs11.CKK_AES, pkcs11.CKM_AES_KEY_GEN
		if name == "HMAC" {
			typ, gen = pkcs11.CKK_SHA256_HMAC, pkcs11.CKM_GENERIC_SECRET_KEY_GEN
		}
		_, err := token.GenerateKey(ctx, &pkcs11.Mechanism{Type: gen},
			append(common(pkcs11.CKO_SECRET_KEY, name, true), attrs(pkcs11.CKA_KEY_TYPE, typ, pkcs11.CKA_VALUE_LEN, n)...), nil)
		must(t, err)
	}
	_, err := token.CreateObject(ctx, append(common(pkcs11.CKO_CERTIFICATE, "certificate", false),
		attrs(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509, pkcs11.CKA_VALUE, []byte("the certificate"), pkcs11.CKA_CERTIFICATE_CATEGORY, uint64(0))...), nil)
	must(t, err)
	_, err = token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, "private data", true), attrs(pkcs11.CKA_VALUE, []byte("the private data"))...), nil)
	must(t, err)
	// A private key whose attributes are public.
	_, _, err = token.GenerateKeyPair(ctx, ecGen, publicTemplate(pkcs11.CKK_EC, "open", pkcs11.CKA_EC_PARAMS, oidP256),
		privateTemplate(pkcs11.CKK_EC, "open").Set(pkcs11.Attr(pkcs11.CKA_PRIVATE, false)), nil)
	must(t, err)
}

// checkGolden uses every object of fillGolden.
func checkGolden(t *testing.T, token *Token) {
	t.Helper()
	if n := len(objects(t, token)); n != 2*len(kinds)+6 {
		t.Errorf("%d objects", n)
	}
	for _, c := range signing {
		data := c.data
		if data == nil {
			data = make([]byte, 32)
		}
		sig, err := find(t, token, pkcs11.CKO_PRIVATE_KEY, c.key).(driver.Signer).Sign(ctx, c.m, data)
		must(t, err)
		verify(t, find(t, token, pkcs11.CKO_PUBLIC_KEY, c.key), c.m, data, sig)
	}
	digest := make([]byte, 32)
	sig, err := find(t, token, pkcs11.CKO_PRIVATE_KEY, "open").(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, digest)
	must(t, err)
	verify(t, find(t, token, pkcs11.CKO_PUBLIC_KEY, "open"), &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, digest, sig)
	for name, m := range map[string]pkcs11.MechanismType{"AES": pkcs11.CKM_AES_CMAC, "HMAC": pkcs11.CKM_SHA256_HMAC} {
		mac, err := find(t, token, pkcs11.CKO_SECRET_KEY, name).(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: m}, []byte("data"))
		must(t, err)
		if len(mac) != 16 && len(mac) != 32 {
			t.Errorf("MAC of %d bytes", len(mac))
		}
	}
	if v := find(t, token, pkcs11.CKO_CERTIFICATE, "certificate").Attributes().Bytes(pkcs11.CKA_VALUE); string(v) != "the certificate" {
		t.Errorf("certificate %q", v)
	}
	if v := find(t, token, pkcs11.CKO_DATA, "private data").Attributes().Bytes(pkcs11.CKA_VALUE); string(v) != "the private data" {
		t.Errorf("data %q", v)
	}
}

// TestGolden reads what was stored by the first program that had the format.
// These records are on devices: they stay readable for ever.
func TestGolden(t *testing.T) {
	for _, name := range []string{"v1", "v1-nopin", "v2", "v2-nopin"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".txt")
			opts := *cheap
			opts.NoPIN = strings.HasSuffix(name, "-nopin")
			if *rerecord && name[1]-'0' == version {
				store := new(pal.Mem)
				token, err := New(store, &opts)
				must(t, err)
				must(t, token.InitToken(ctx, soPIN, "golden"))
				if !opts.NoPIN {
					must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
					must(t, token.InitPIN(ctx, userPIN))
					must(t, token.Logout(ctx))
					login(t, token)
				}
				fillGolden(t, token)
				must(t, token.Logout(ctx))
				wantCode(t, "wrong", token.Login(ctx, pkcs11.CKU_SO, userPIN), pkcs11.CKR_PIN_INCORRECT)
				writeStore(t, file, store)
			}
			store := readStore(t, file)
			token := openToken(t, store)
			i := token.Info()
			if i.Label != "golden" || len(i.SerialNumber) != 16 {
				t.Errorf("info %+v", i)
			}
			wantFlags(t, token, soFlags|userFlags, pkcs11.CKF_SO_PIN_COUNT_LOW)
			if !opts.NoPIN {
				if n := len(objects(t, token)); n != len(kinds)+3 {
					t.Errorf("%d public objects", n)
				}
				login(t, token)
			}
			checkGolden(t, token)
			// It is changed as it is.
			must(t, createData(token, "new", false, nil))
			must(t, token.Destroy(ctx, find(t, token, pkcs11.CKO_DATA, "new")))
			_, err := token.Update(ctx, find(t, token, pkcs11.CKO_CERTIFICATE, "certificate"), attrs(pkcs11.CKA_ID, []byte("id")))
			must(t, err)
			must(t, token.Close())
			token = openToken(t, store)
			if token.rec.version != name[1]-'0' {
				t.Errorf("it has version %d now", token.rec.version)
			}
			if !opts.NoPIN {
				login(t, token)
			}
			checkGolden(t, token)
			must(t, token.Logout(ctx))
			must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
		})
	}
}

// writeStore writes the records of a store as lines, of a name and base64.
func writeStore(t *testing.T, file string, store pal.Store) {
	t.Helper()
	names, err := store.Names()
	must(t, err)
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		data, err := store.Load(name)
		must(t, err)
		fmt.Fprintf(&b, "%s %s\n", name, base64.StdEncoding.EncodeToString(data))
	}
	must(t, os.WriteFile(file, []byte(b.String()), 0o644))
}

func readStore(t testing.TB, file string) *pal.Mem {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	store := new(pal.Mem)
	for line := range strings.Lines(string(text)) {
		name, data, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := base64.StdEncoding.DecodeString(data)
		must(t, err)
		must(t, store.Save(name, b))
	}
	return store
}

// full makes a token with a few objects of each form, and returns its records.
func full(t *testing.T) *pal.Mem {
	t.Helper()
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	generateP256(t, token, "key")
	_, err := token.CreateObject(ctx, append(common(pkcs11.CKO_CERTIFICATE, "root", false), attrs(pkcs11.CKA_VALUE, []byte("certificate"))...), nil)
	must(t, err)
	_, err = token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, "data", true), attrs(pkcs11.CKA_VALUE, []byte("data"))...), nil)
	must(t, err)
	must(t, token.Close())
	return store
}

// TestFlip changes every byte of every record, by accident and on purpose: with
// the checksum as it was, and with a right one. Each is noticed by the time the
// object could be used, the error names the record and matches pal.ErrCorrupt,
// and the other objects stay as they are.
func TestFlip(t *testing.T) {
	base := full(t)
	names, err := base.Names()
	must(t, err)
	for _, name := range names {
		b, err := base.Load(name)
		must(t, err)
		for i := range b {
			for _, onPurpose := range []bool{false, true} {
				if onPurpose && i >= len(b)-crcLen {
					continue
				}
				c := bytes.Clone(b)
				c[i] ^= 1 << (i % 8)
				if onPurpose {
					c = appendCRC(c[:len(c)-crcLen])
				}
				store := clone(t, base)
				must(t, store.Save(name, c))
				what := fmt.Sprintf("%s, byte %d of %d, on purpose %v", name, i, len(b), onPurpose)

				token, err := New(store, cheap)
				if err == nil && !onPurpose {
					if _, err = token.Objects(ctx); err == nil {
						t.Errorf("%s: not noticed before login", what)
					}
				}
				if err == nil {
					err = token.Login(ctx, pkcs11.CKU_USER, userPIN)
				}
				var list []driver.Object
				if err == nil {
					left := 3
					if name == nameInventory {
						left = 0 // of which nobody knows whether they are the right ones
					} else if !strings.HasPrefix(name, objectPrefix) {
						left = 4
					}
					if list, err = token.Objects(ctx); err != nil && len(list) != left {
						t.Errorf("%s: %d objects are left", what, len(list))
					}
				}
				if err == nil {
					// Then it is a secret part, which is looked at when it is used.
					err = use(list)
				}
				if name == nameTries && onPurpose {
					// Whoever can write the store can set the counters back, as he
					// can copy it and try elsewhere.
					continue
				}
				switch {
				case err == nil:
					t.Errorf("%s: not noticed", what)
				case name == nameToken && onPurpose && errors.Is(err, pkcs11.CKR_PIN_INCORRECT), // the wrapped key
					name == nameToken && onPurpose && errors.Is(err, pkcs11.CKR_USER_PIN_NOT_INITIALIZED), // the flag
					name == nameToken && onPurpose && errors.Is(err, pkcs11.CKR_DEVICE_ERROR):             // the flag that it is sealed
				case i == 0 && strings.Contains(err.Error(), "record "+name) && strings.Contains(err.Error(), "version"):
				case !errors.Is(err, pal.ErrCorrupt) || !strings.Contains(err.Error(), "record "+name):
					t.Errorf("%s: %v", what, err)
				}
				if token != nil {
					token.Close()
				}
			}
		}
	}
}

// use signs with all keys.
func use(list []driver.Object) error {
	for _, o := range list {
		if s, ok := o.(driver.Signer); ok {
			if _, err := s.Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, make([]byte, 32)); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestSwap puts records in the place of others, of this token and of another.
func TestSwap(t *testing.T) {
	base, foreign := full(t), full(t)
	for _, name := range records(t, base) {
		for i, from := range []*pal.Mem{base, foreign} {
			for _, source := range records(t, from) {
				if source == name {
					continue
				}
				b, err := from.Load(source)
				must(t, err)
				store := clone(t, base)
				must(t, store.Save(name, b))
				token := openToken(t, store)
				login(t, token)
				if list, err := token.Objects(ctx); !errors.Is(err, pal.ErrCorrupt) || !strings.Contains(err.Error(), name) || len(list) != 3 {
					t.Errorf("%s of store %d in place of %s: %d objects, %v", source, i, name, len(list), err)
				}
			}
		}
	}
}

// TestNewerVersion: a record of a later format is refused with its version.
func TestNewerVersion(t *testing.T) {
	base := full(t)
	names, err := base.Names()
	must(t, err)
	for _, name := range names {
		b, err := base.Load(name)
		must(t, err)
		b[0] = 7
		store := clone(t, base)
		must(t, store.Save(name, appendCRC(b[:len(b)-crcLen])))
		token, err := New(store, cheap)
		if err == nil {
			_, err = token.Objects(ctx)
		}
		if err == nil || !strings.Contains(err.Error(), "version 7") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, pal.ErrCorrupt) {
			t.Errorf("%s is damaged: %v", name, err)
		}
	}
}

// TestNoPlaintext looks for secrets in the records: private keys in their
// encodings, labels and values of private objects, PINs, and the token key.
func TestNoPlaintext(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	secrets := map[string][]byte{"user PIN": userPIN, "SO PIN": soPIN, "token key": bytes.Clone(token.keys.tokenKey)}
	const label = "a label that nobody may see"
	value := []byte("a value that nobody may see, either")
	_, err := token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, label, true), attrs(pkcs11.CKA_VALUE, value)...), nil)
	must(t, err)
	secrets["label"], secrets["value"] = []byte(label), value
	for _, k := range kinds {
		_, priv := generateKind(t, token, k.name)
		all, err := priv.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
			pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT)
		must(t, err)
		if len(all) == 0 {
			t.Fatalf("%s: nothing exported", k.name)
		}
		for _, a := range all {
			secrets[fmt.Sprintf("%s %v", k.name, a.Type)] = a.Bytes()
		}
	}
	names, err := store.Names()
	must(t, err)
	for _, name := range names {
		b, err := store.Load(name)
		must(t, err)
		for what, secret := range secrets {
			little := bytes.Clone(secret)
			for i, j := 0, len(little)-1; i < j; i, j = i+1, j-1 {
				little[i], little[j] = little[j], little[i]
			}
			for _, s := range [][]byte{secret, little, []byte(base64.StdEncoding.EncodeToString(secret)), fmt.Appendf(nil, "%x", secret), []byte(new(big.Int).SetBytes(secret).String())} {
				// A part would be as bad as the whole.
				for _, part := range [][]byte{s[:min(len(s), 12)], s[len(s)-min(len(s), 12):]} {
					if bytes.Contains(b, part) {
						t.Errorf("record %s holds the %s", name, what)
					}
				}
			}
		}
	}
	// The search finds what is there to be found.
	noPIN, err := New(new(pal.Mem), &Options{KDF: cheap.KDF, NoPIN: true})
	must(t, err)
	must(t, noPIN.InitToken(ctx, soPIN, "x"))
	if b, err := noPIN.store.Load(nameToken); err != nil || !bytes.Contains(b, noPIN.keys.tokenKey) {
		t.Errorf("the key of a token without PIN is not found: %v", err)
	}
}

// TestSizes: the records of a P-256 pair take less than 1 KiB together, an
// RSA-4096 key fits well, and what does not fit is refused.
func TestSizes(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	generateP256(t, token, "Device Priv TLS Key")
	total := 0
	for _, name := range records(t, store) {
		b, _ := store.Load(name)
		total += len(b)
	}
	if total > 1024 {
		t.Errorf("a P-256 key pair takes %d bytes", total)
	}
	data := func(n int) error {
		_, err := token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, "large", false), attrs(pkcs11.CKA_VALUE, make([]byte, n))...), nil)
		return err
	}
	must(t, data(pal.MaxRecord-256))
	wantCode(t, "too large", data(pal.MaxRecord), pkcs11.CKR_DEVICE_MEMORY)
	wantCode(t, "much too large", data(1<<20), pkcs11.CKR_DEVICE_MEMORY)
	if n := len(records(t, store)); n != 3 {
		t.Errorf("%d records", n)
	}
}

func FuzzParseRecords(f *testing.F) {
	for _, name := range []string{"v1", "v1-nopin", "v2", "v2-nopin"} {
		store := readStore(f, filepath.Join("testdata", name+".txt"))
		names, _ := store.Names()
		for _, name := range names {
			b, _ := store.Load(name)
			f.Add(b[:len(b)-crcLen])
		}
	}
	f.Add(journalRecord{guard: "o-1", done: []string{"o-2"}, undone: []string{"o-3"}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		b = appendCRC(bytes.Clone(b))
		if r, err := parseToken(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("token record %x is written as %x", b, r.encode())
		}
		if r, err := parseTries(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("tries record %x is written as %x", b, r.encode())
		}
		if r, err := parseJournal(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("journal record %x is written as %x", b, r.encode())
		}
		if epoch, _, sealed, err := parseInventory(b); err == nil {
			if again := appendCRC(append(append([]byte{b[0], kindInventory}, epoch[:]...), sealed...)); !bytes.Equal(again, b) {
				t.Errorf("inventory record %x is written as %x", b, again)
			}
		}
		if r, err := parseObject("o-1", b); err == nil {
			again := appendHeader(nil, b[0], r.flags(), r.epoch(), r.seq(), r.changes())
			setAttrLen(again, len(r.attrs))
			again = append(append(append(again, r.attrs...), r.mac...), r.secret...)
			if !bytes.Equal(appendCRC(again), b) {
				t.Errorf("object record %x is written as %x", b, again)
			}
		}
	})
}
