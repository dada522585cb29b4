package atecc608_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// openToken opens a token in a bubble.
func openToken(t testing.TB, state *ateccsim.State, opts *atecc608.Options) *atecc608.Token {
	t.Helper()
	token, err := atecc608.New(t.Context(), newChip(t, state, nil), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { token.Close() })
	return token
}

func objects(t testing.TB, token *atecc608.Token, labels ...string) []driver.Object {
	t.Helper()
	list, err := token.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return labelled(list, labels...)
}

// What is wrong is said with the slot, the bit and the cure.
func TestBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := provisioned(t)
		io := state.Slot(6)[:32]
		token := openToken(t, state, &atecc608.Options{Store: new(pal.Mem), IOKey: io})
		ec := &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}
		public, private := generateTemplates("k", "k")
		_, key := generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)

		_, err := key.(driver.Signer).Sign(t.Context(), ecdsaMechanism, nil)
		wantError(t, "no digest", err, pkcs11.CKR_DATA_LEN_RANGE, "slot 0: CKR_DATA_LEN_RANGE: there is no digest; the chip signs 32 bytes")
		_, err = key.(driver.Signer).Sign(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}, make([]byte, 32))
		wantError(t, "another mechanism", err, pkcs11.CKR_MECHANISM_INVALID, "CKM_ECDSA")

		p384 := []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}
		_, _, err = token.GenerateKeyPair(t.Context(), ec, public.Clone().Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p384)), private, nil)
		wantError(t, "another curve", err, pkcs11.CKR_CURVE_NOT_SUPPORTED, "P-256 alone, not on P-384")
		_, _, err = token.GenerateKeyPair(t.Context(), ec, public, private.Clone().Set(pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true)), nil)
		wantError(t, "a key to be shown", err, pkcs11.CKR_TEMPLATE_INCONSISTENT, "never leaves the chip")

		for _, label := range []string{"1", "2", "3"} {
			generate(t, token, label, label, nil)
		}
		_, _, err = token.GenerateKeyPair(t.Context(), ec, public, private, nil)
		wantError(t, "a full chip", err, pkcs11.CKR_DEVICE_MEMORY, "keys in slots 0, 2, 3, 4: destroy one")

		_, err = token.CreateObject(t.Context(), importTemplate(t, "one more"), nil)
		wantError(t, "a full chip, importing", err, pkcs11.CKR_DEVICE_MEMORY, "keys in slots 4: destroy")
		if _, err := token.CreateObject(t.Context(), aesTemplate("AES"), nil); err != nil {
			t.Fatal(err)
		}
		_, err = token.CreateObject(t.Context(), aesTemplate("AES 2"), nil)
		wantError(t, "a second AES key", err, pkcs11.CKR_DEVICE_MEMORY, "of this type in slots 5: destroy")
		_, err = token.CreateObject(t.Context(), aesTemplate("long").Set(pkcs11.Attr(pkcs11.CKA_VALUE, make([]byte, 32))), nil)
		wantError(t, "AES-256", err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "AES-128 alone")
		_, err = token.CreateObject(t.Context(), aesTemplate("shown").Set(pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true)), nil)
		wantError(t, "a secret key to be shown", err, pkcs11.CKR_TEMPLATE_INCONSISTENT, "never read again")

		_, err = token.CreateObject(t.Context(), pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_CERTIFICATE)), pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_VALUE, make([]byte, 20000))}, nil)
		wantError(t, "a certificate too large", err, pkcs11.CKR_DEVICE_MEMORY, "16384 bytes")

		wantError(t, "lock a slot that cannot be", token.LockSlot(t.Context(), 7), pkcs11.CKR_ACTION_PROHIBITED, "slot 7: CKR_ACTION_PROHIBITED: its configuration does not let it be locked (KeyConfig bit 5)")
		wantError(t, "lock a slot without a key", token.LockSlot(t.Context(), 1), pkcs11.CKR_ACTION_PROHIBITED, "it holds no key")
		wantError(t, "lock slot 16", token.LockSlot(t.Context(), 16), pkcs11.CKR_ARGUMENTS_BAD, "0 to 15")
		wantError(t, "read a secret", token.ReadData(t.Context(), 6, 0, make([]byte, 4)), pkcs11.CKR_ACTION_PROHIBITED, "slot 6")
		wantError(t, "write more than there is", token.WriteData(t.Context(), 8, 400, make([]byte, 20)), pkcs11.CKR_DATA_LEN_RANGE, "20 bytes at 400, of 416")
		_, err = token.Counter(t.Context(), 2)
		wantError(t, "counter 2", err, pkcs11.CKR_ARGUMENTS_BAD, "0 and 1")

		// What needs the I/O protection key says so without it.
		blind := openToken(t, state, &atecc608.Options{Store: new(pal.Mem)})
		_, err = blind.CreateObject(t.Context(), importTemplate(t, "x"), nil)
		wantError(t, "import without the key", err, pkcs11.CKR_TEMPLATE_INCONSISTENT, "slot 4: CKR_TEMPLATE_INCONSISTENT: it takes keys encrypted under slot 6, whose key is not known here; give it (io-key=FILE)")
		_, err = blind.CreateObject(t.Context(), aesTemplate("x"), nil)
		wantError(t, "AES without the key", err, pkcs11.CKR_TEMPLATE_INCONSISTENT, "slot 6 is not known here")

		// A wrong one is noticed by the chip.
		wrong := openToken(t, state, &atecc608.Options{Store: new(pal.Mem), IOKey: bytes.Repeat([]byte{1}, 32)})
		_, err = wrong.CreateObject(t.Context(), importTemplate(t, "x"), nil)
		wantError(t, "import with a wrong key", err, pkcs11.CKR_ENCRYPTED_DATA_INVALID, "slot 4")

		_, err = atecc608.New(t.Context(), newChip(t, state, nil), &atecc608.Options{IOKey: make([]byte, 31)})
		wantError(t, "a short I/O protection key", err, pkcs11.CKR_ARGUMENTS_BAD, "31 bytes")
		_, err = atecc608.New(t.Context(), newChip(t, state, nil), &atecc608.Options{Chip: atecc.Opts{Address: 0x35}})
		wantError(t, "another address", err, pkcs11.CKR_TOKEN_NOT_PRESENT, "")
	})
}

// A slot whose policy forbids it: the internal one, and a locked one.
func TestPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, err := ateccsim.Generic(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{1}))
		if err != nil {
			t.Fatal(err)
		}
		token := openToken(t, state, &atecc608.Options{Store: new(pal.Mem)})
		attest := objects(t, token, "Slot 1 Key")
		if len(attest) != 2 || attest[0].Attributes().Bool(pkcs11.CKA_SIGN) || attest[0].Attributes().Bool(pkcs11.CKA_DERIVE) {
			t.Fatalf("the attestation key: %v", attest)
		}
		_, err = attest[0].(driver.Signer).Sign(t.Context(), ecdsaMechanism, make([]byte, 32))
		wantError(t, "sign with the attestation key", err, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "slot 1: CKR_KEY_FUNCTION_NOT_PERMITTED: its key does not sign digests (SlotConfig bit 0)")
		if allowed, ok := attest[0].Attributes().Get(pkcs11.CKA_ALLOWED_MECHANISMS); !ok || len(allowed.Value.([]pkcs11.MechanismType)) != 0 {
			t.Errorf("what the attestation key may: %v", allowed)
		}

		// Keys that were there are shown, get labels, and are destroyed.
		device := objects(t, token, "Device Priv TLS Key", "Device Pub TLS Key")
		if len(device) != 2 || !device[0].Attributes().Bool(pkcs11.CKA_SENSITIVE) || device[0].Attributes().Bool(pkcs11.CKA_LOCAL) || device[0].Attributes().Bool(pkcs11.CKA_NEVER_EXTRACTABLE) {
			t.Fatalf("the device's key: %v", device)
		}
		mustSign(t, device[0])
		named, err := token.Update(t.Context(), device[0], pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "mine")})
		if err != nil {
			t.Fatal(err)
		}
		mustSign(t, named)
		if list := objects(t, token, "mine", "Device Priv TLS Key", "Device Pub TLS Key"); len(list) != 2 {
			t.Errorf("after the change of a label there are %d", len(list))
		}
		if err := token.LockSlot(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := token.LockSlot(t.Context(), 0); err != nil {
			t.Errorf("lock it again: %v", err)
		}
		wantError(t, "destroy what is locked", token.Destroy(t.Context(), named), pkcs11.CKR_ACTION_PROHIBITED, "slot 0: CKR_ACTION_PROHIBITED: the slot is locked for good")
		mustSign(t, named)
		other := objects(t, token, "Slot 2 Key")
		if err := token.Destroy(t.Context(), other...); err != nil {
			t.Fatal(err)
		}
		if list := objects(t, token, "Slot 2 Key"); len(list) != 0 {
			t.Errorf("%d objects are left of a destroyed key", len(list))
		}
	})
}

// A destroyed key is gone from the chip, too.
func TestDestroyOverwrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := provisioned(t)
		chip := newChip(t, state, nil)
		token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: new(pal.Mem), IOKey: state.Slot(6)[:32]})
		if err != nil {
			t.Fatal(err)
		}
		defer token.Close()
		_, priv := generate(t, token, "k", "Device Priv TLS Key", nil)
		before := bytes.Clone(chip.State().Slot(0))
		secret, err := token.CreateObject(t.Context(), aesTemplate("AES"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(chip.State().Slot(5), []byte("0123456789abcdef")) {
			t.Error("the AES key is not in slot 5")
		}
		if err := token.Destroy(t.Context(), priv, secret); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(before, chip.State().Slot(0)) || bytes.HasPrefix(chip.State().Slot(5), []byte("0123456789abcdef")) {
			t.Error("a destroyed key is still in its slot")
		}
	})
}

// Nothing secret is on the bus in the clear.
func TestBusShowsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := provisioned(t)
		var wire bytes.Buffer
		chip := newChip(t, state, &ateccsim.Options{Trace: func(e ateccsim.Event) { wire.Write(e.Write); wire.Write(e.Read) }})
		io := state.Slot(6)[:32]
		token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: new(pal.Mem), IOKey: io})
		if err != nil {
			t.Fatal(err)
		}
		defer token.Close()
		imported := importTemplate(t, "k")
		key, err := token.CreateObject(t.Context(), imported, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := agrees(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if _, err := token.CreateObject(t.Context(), aesTemplate("AES"), nil); err != nil {
			t.Fatal(err)
		}
		for what, secret := range map[string][]byte{"I/O protection key": io, "imported key": imported.Bytes(pkcs11.CKA_VALUE), "AES key": []byte("0123456789abcdef")} {
			if bytes.Contains(wire.Bytes(), secret[:16]) {
				t.Errorf("the %s is on the bus", what)
			}
		}
	})
}

// A chip that comes with a key and certificates connects with no provisioning at
// all, its chain included.
func TestTrustChipsConnect(t *testing.T) {
	for name, make := range map[string]func([9]byte, *rand.ChaCha8) (*ateccsim.State, error){
		"TrustFLEX": func(s [9]byte, r *rand.ChaCha8) (*ateccsim.State, error) { return ateccsim.TrustFLEX(s, r) },
		"Trust&GO":  func(s [9]byte, r *rand.ChaCha8) (*ateccsim.State, error) { return ateccsim.TrustGO(s, r) },
	} {
		t.Run(name, func(t *testing.T) {
			state, err := make([9]byte{1, 0x23, 7, 7, 7, 7, 7, 7, 1}, rand.NewChaCha8([32]byte{9}))
			if err != nil {
				t.Fatal(err)
			}
			device, err := atecc608.New(t.Context(), newChip(t, state, nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			if key := objects(t, device, "Device Priv TLS Key")[0].Attributes(); !key.Bool(pkcs11.CKA_LOCAL) || !key.Bool(pkcs11.CKA_NEVER_EXTRACTABLE) || key.Bool(pkcs11.CKA_DESTROYABLE) {
				t.Errorf("the device's key: %v", key)
			}
			m, err := cryptoki.NewModule(nil, device)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			slots, err := m.Slots(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			token, err := cryptoki.NewToken(t.Context(), m, slots[0], nil)
			if err != nil {
				t.Fatal(err)
			}
			defer token.Close()
			cert, err := token.TLSCertificate(t.Context(), cryptoki.DeviceCert, cryptoki.DevicePrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			want, err := state.Chain()
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range cert.Certificate {
				if !bytes.Equal(c, want[i].Raw) {
					t.Errorf("certificate %d of the chain is another than the factory's", i)
				}
			}
			handshake(t, cert)

			// The counters are there for those who ask.
			features, err := token.Objects(t.Context(), pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_HW_FEATURE))})
			if err != nil || len(features) != 2 {
				t.Errorf("%d hardware features: %v", len(features), err)
			}
			all, err := token.Objects(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				if o.Class == pkcs11.CKO_HW_FEATURE {
					t.Error("a search for everything finds a hardware feature")
				}
			}
		})
	}
}

// handshake is TLS 1.3 with a server that trusts the factory's root.
func handshake(t *testing.T, cert tls.Certificate) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ateccsim.Root())
	key := cert.PrivateKey // the server is the same chip: its certificate does for it, too
	a, b := net.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: cert.Certificate, PrivateKey: key}}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots})
	done := make(chan error, 1)
	go func() { done <- server.HandshakeContext(ctx) }()
	client := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true})
	if err := client.HandshakeContext(ctx); err != nil {
		t.Error(err)
	}
	// The client has sent its certificate; now the server looks at it.
	go func() { _, _ = client.Read(make([]byte, 1)) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if chains := server.ConnectionState().VerifiedChains; len(chains) != 1 || len(chains[0]) != 3 {
		t.Errorf("the server verified %d chains", len(chains))
	}
	client.Close()
	server.Close()
}

func TestWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := newChip(t, provisioned(t), nil)
		open := func() *atecc608.Token {
			token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Labels: map[int]string{2: "second"}})
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		token := open()
		generate(t, token, "second", "second", nil)
		_, priv := generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)
		mustSign(t, priv)
		public, private := generateTemplates("other", "other")
		_, _, err := token.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public, private, nil)
		wantError(t, "another label", err, pkcs11.CKR_TOKEN_WRITE_PROTECTED, `"Device Priv TLS Key", "Slot 1 Key", "second"`)
		public, private = generateTemplates("second", "second")
		_, _, err = token.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public, private, nil)
		wantError(t, "the same label", err, pkcs11.CKR_ACTION_PROHIBITED, "slot 2")
		_, err = token.CreateObject(t.Context(), publicTemplate(t, "x"), nil)
		wantError(t, "an object that needs a store", err, pkcs11.CKR_TOKEN_WRITE_PROTECTED, "dir=PATH")
		if err := token.Close(); err != nil {
			t.Fatal(err)
		}
		// The next program finds them.
		token = open()
		defer token.Close()
		found := objects(t, token, "second", "Device Priv TLS Key")
		if len(found) != 3 || found[0].ID() != priv.ID() {
			t.Fatalf("after a restart: %v", found)
		}
		mustSign(t, found[0])
	})
}

// Public keys with a place on the chip are there, and a change is noticed.
func TestPublicKeyOnChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := provisioned(t)
		chip, store := newChip(t, state, nil), new(pal.Mem)
		token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		template := publicTemplate(t, "Code Verify Key")
		if _, err := token.CreateObject(t.Context(), template, nil); err != nil {
			t.Fatal(err)
		}
		pub, err := driver.PublicKey(template)
		if err != nil {
			t.Fatal(err)
		}
		point, err := pub.(*ecdsa.PublicKey).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if b := chip.State().Slot(13); !bytes.Equal(b[4:36], point[1:33]) || !bytes.Equal(b[40:72], point[33:]) {
			t.Error("the key is not in slot 13")
		}
		if n := len(objects(t, token, "Code Verify Key")); n != 1 {
			t.Errorf("there are %d objects of it", n)
		}
		token.Close()

		// Somebody on the bus puts another key there.
		other, err := atecc608.New(t.Context(), chip, nil)
		if err != nil {
			t.Fatal(err)
		}
		bad := publicTemplate(t, "x")
		evil, err := driver.PublicKey(bad)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Device().WritePublicKey(t.Context(), 13, evil.(*ecdsa.PublicKey)); err != nil {
			t.Fatal(err)
		}
		other.Close()
		token, err = atecc608.New(t.Context(), chip, &atecc608.Options{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		defer token.Close()
		_, err = token.Objects(t.Context())
		wantError(t, "another key in the slot", err, pkcs11.CKR_DEVICE_ERROR, `slot 13: CKR_DEVICE_ERROR: it does not hold the public key "Code Verify Key"`)
	})
}

// Another program makes a key in a slot: its signatures are not taken for ours.
func TestKeyBehindOurBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := openToken(t, provisioned(t), &atecc608.Options{Store: new(pal.Mem)})
		_, priv := generate(t, token, "k", "Device Priv TLS Key", nil)
		if _, err := token.Device().GenerateKey(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		_, err := priv.(driver.Signer).Sign(t.Context(), ecdsaMechanism, make([]byte, 32))
		wantError(t, "a key that is another", err, pkcs11.CKR_DEVICE_ERROR, "another key has been put into the slot")
	})
}

func TestCountersAndData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := openToken(t, provisioned(t), &atecc608.Options{Store: new(pal.Mem)})
		for want := range uint32(3) {
			if v, err := token.Counter(t.Context(), 1); err != nil || v != want {
				t.Fatalf("counter 1 is %d, %v; want %d", v, err, want)
			}
			if v, err := token.Increment(t.Context(), 1); err != nil || v != want+1 {
				t.Fatalf("counter 1 is %d, %v; want %d", v, err, want+1)
			}
		}
		text := []byte("some data of 32 bytes, as it is.")
		if err := token.WriteData(t.Context(), 8, 64, text); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if err := token.ReadData(t.Context(), 8, 64, got); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%q, %v", got, err)
		}
		if err := token.WriteData(t.Context(), 8, 0, text); err != nil {
			t.Fatal(err)
		}
		found := objects(t, token, "Slot 8")
		if len(found) != 1 || !bytes.HasPrefix(found[0].Attributes().Bytes(pkcs11.CKA_VALUE), text) {
			t.Errorf("the data object: %v", found)
		}
	})
}

// With a PIN, keys sign after it alone, and the chip is what checks it.
func TestPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip, store := newChip(t, ateccsim.Blank(ateccsim.DefaultSerial), nil), new(pal.Mem)
		if _, err := provision(t.Context(), chip, true, atecc608.ProvisionOptions{Plan: plan(t, "generic-pin"), Store: store, PIN: []byte("1234")}); err != nil {
			t.Fatal(err)
		}
		token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		defer token.Close()
		if f := token.Info().Flags; f&pkcs11.CKF_LOGIN_REQUIRED == 0 || f&pkcs11.CKF_USER_PIN_INITIALIZED == 0 {
			t.Errorf("flags %#x", f)
		}
		wantError(t, "a wrong PIN", token.Login(t.Context(), pkcs11.CKU_USER, []byte("4321")), pkcs11.CKR_PIN_INCORRECT, "")
		if err := token.Login(t.Context(), pkcs11.CKU_USER, []byte("1234")); err != nil {
			t.Fatal(err)
		}
		_, priv := generate(t, token, "k", "Device Priv TLS Key", nil)
		mustSign(t, priv)
		if err := agrees(t.Context(), priv); err != nil {
			t.Error(err)
		}
		if err := token.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantError(t, "sign after the logout", signs(t.Context(), priv), pkcs11.CKR_USER_NOT_LOGGED_IN, "slot 0")
		// Without our rules the chip refuses, too.
		if _, err := token.Device().Sign(t.Context(), 0, make([]byte, 32)); !errors.Is(err, atecc.StatusExec) {
			t.Errorf("the chip signs without a PIN: %v", err)
		}
		wantError(t, "change a PIN that is wrong", token.SetPIN(t.Context(), pkcs11.CKU_USER, []byte("x234"), []byte("56789")), pkcs11.CKR_PIN_INCORRECT, "")
		wantError(t, "a short PIN", token.SetPIN(t.Context(), pkcs11.CKU_USER, []byte("1234"), []byte("5")), pkcs11.CKR_PIN_LEN_RANGE, "4 to 64")
		if err := token.SetPIN(t.Context(), pkcs11.CKU_USER, []byte("1234"), []byte("56789")); err != nil {
			t.Fatal(err)
		}
		if err := token.Login(t.Context(), pkcs11.CKU_USER, []byte("56789")); err != nil {
			t.Fatal(err)
		}
		mustSign(t, priv)
	})
}

func TestStoreOfAnotherChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, false)
		state := *s.state
		state.Config[2]++
		_, err := s.open(t.Context(), newChip(t, &state, nil), s.store(t))
		wantError(t, "a store of another chip", err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, "give each chip a store of its own")
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"atecc608:":                            "bus is missing",
		"atecc608:bus=x":                       "want a number, /dev/i2c-N, unix:PATH or tcp:HOST:PORT",
		"atecc608:bus=1;free=16":               "16",
		"atecc608:bus=1;labels=0":              "a colon and a label",
		"atecc608:bus=1;create=true":           "name it (dir=PATH)",
		"atecc608:bus=1;address=0xC0":          "0xC0",
		"atecc608:bus=31998":                   "there is no /dev/i2c-31998",
		"atecc608:bus=1;adress=0x60":           "adress",
		"atecc608:bus=1;io-key=/nowhere":       "I/O protection key",
		"atecc608:bus=1;certificates=/nowhere": "certificates",
		"atecc608:bus=unix:/nowhere/chip.sock": "is atecc-sim running there?",
	} {
		token, err := driver.Open(t.Context(), name)
		if err == nil {
			token.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %q", name, err, want)
		}
	}
}

func TestSlotsOfEveryConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, err := ateccsim.Everything(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{4}))
		if err != nil {
			t.Fatal(err)
		}
		// ECDH goes into the next slot, and comes back encrypted.
		token := openToken(t, state, &atecc608.Options{Store: new(pal.Mem), IOKey: state.Slot(4)[:32]})
		key := objects(t, token, "Device Priv TLS Key")
		if len(key) != 1 {
			t.Fatalf("%d keys in slot 0", len(key))
		}
		mustSign(t, key[0])
		if err := agrees(t.Context(), key[0]); err != nil {
			t.Error(err)
		}
		z := token.Config()
		for n := range config.Slots {
			if z.Slot(n).Describe() == "" {
				t.Errorf("slot %d has no description", n)
			}
		}
	})
}
