package soft

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

const (
	userFlags = pkcs11.CKF_USER_PIN_COUNT_LOW | pkcs11.CKF_USER_PIN_FINAL_TRY | pkcs11.CKF_USER_PIN_LOCKED
	soFlags   = pkcs11.CKF_SO_PIN_COUNT_LOW | pkcs11.CKF_SO_PIN_FINAL_TRY | pkcs11.CKF_SO_PIN_LOCKED
)

func wantFlags(t *testing.T, token *Token, mask, want uint64) {
	t.Helper()
	if got := token.Info().Flags & mask; got != want {
		t.Errorf("flags %#x, want %#x of %#x", got, want, mask)
	}
}

func TestUninitialized(t *testing.T) {
	store := new(pal.Mem)
	token := openToken(t, store)
	wantFlags(t, token, pkcs11.CKF_TOKEN_INITIALIZED|pkcs11.CKF_LOGIN_REQUIRED|pkcs11.CKF_USER_PIN_INITIALIZED, pkcs11.CKF_LOGIN_REQUIRED)
	if list := objects(t, token); len(list) != 0 {
		t.Errorf("objects %v", list)
	}
	wantCode(t, "login", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	wantCode(t, "login of the SO", token.Login(ctx, pkcs11.CKU_SO, soPIN), pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	wantCode(t, "InitPIN", token.InitPIN(ctx, userPIN), pkcs11.CKR_USER_NOT_LOGGED_IN)
	_, err := token.CreateObject(ctx, common(pkcs11.CKO_DATA, "x", false), nil)
	wantCode(t, "create", err, pkcs11.CKR_USER_NOT_LOGGED_IN)
	for _, pin := range []string{"", "123", strings.Repeat("x", 256)} {
		wantCode(t, fmt.Sprintf("SO PIN of %d bytes", len(pin)), token.InitToken(ctx, []byte(pin), "label"), pkcs11.CKR_PIN_LEN_RANGE)
	}
	wantCode(t, "long label", token.InitToken(ctx, soPIN, strings.Repeat("x", 33)), pkcs11.CKR_ARGUMENTS_BAD)
	if names, _ := store.Names(); len(names) > 0 {
		t.Errorf("records %v without a token", names)
	}
	must(t, token.InitToken(ctx, soPIN, strings.Repeat("x", 32)))
	wantFlags(t, token, pkcs11.CKF_TOKEN_INITIALIZED|pkcs11.CKF_LOGIN_REQUIRED|pkcs11.CKF_USER_PIN_INITIALIZED, pkcs11.CKF_TOKEN_INITIALIZED|pkcs11.CKF_LOGIN_REQUIRED)
	wantCode(t, "login without PIN", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	wantCode(t, "InitPIN, nobody logged in", token.InitPIN(ctx, userPIN), pkcs11.CKR_USER_NOT_LOGGED_IN)
	must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
	wantCode(t, "short PIN", token.InitPIN(ctx, []byte("123")), pkcs11.CKR_PIN_LEN_RANGE)
	must(t, token.InitPIN(ctx, []byte("1234")))
	must(t, token.Logout(ctx))
	must(t, token.Login(ctx, pkcs11.CKU_USER, []byte("1234")))
	must(t, token.SetPIN(ctx, pkcs11.CKU_USER, []byte("1234"), []byte(strings.Repeat("x", 255))))
	must(t, token.Logout(ctx))
	must(t, token.Login(ctx, pkcs11.CKU_USER, []byte(strings.Repeat("x", 255))))
}

// TestTries spends all tries, with a restart after each.
func TestTries(t *testing.T) {
	for _, who := range []struct {
		name             string
		user             pkcs11.UserType
		mask             uint64
		low, final, lock uint64
	}{
		{"user", pkcs11.CKU_USER, userFlags, pkcs11.CKF_USER_PIN_COUNT_LOW, pkcs11.CKF_USER_PIN_FINAL_TRY, pkcs11.CKF_USER_PIN_LOCKED},
		{"SO", pkcs11.CKU_SO, soFlags, pkcs11.CKF_SO_PIN_COUNT_LOW, pkcs11.CKF_SO_PIN_FINAL_TRY, pkcs11.CKF_SO_PIN_LOCKED},
	} {
		t.Run(who.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(pal.Mem)
				token := newToken(t, store)
				right := map[pkcs11.UserType][]byte{pkcs11.CKU_USER: userPIN, pkcs11.CKU_SO: soPIN}[who.user]
				wantFlags(t, token, userFlags|soFlags, 0)
				for i := range DefaultMaxTries - 1 {
					wantCode(t, "wrong PIN", token.Login(ctx, who.user, []byte("wrong")), pkcs11.CKR_PIN_INCORRECT)
					want := who.low
					if i == DefaultMaxTries-2 {
						want |= who.final
					}
					wantFlags(t, token, userFlags|soFlags, want)
					must(t, token.Close())
					token = openToken(t, store)
					wantFlags(t, token, userFlags|soFlags, want)
				}
				must(t, token.Login(ctx, who.user, right))
				wantFlags(t, token, userFlags|soFlags, 0)
				must(t, token.Logout(ctx))
				for range DefaultMaxTries {
					wantCode(t, "wrong PIN", token.Login(ctx, who.user, []byte("wrong")), pkcs11.CKR_PIN_INCORRECT)
				}
				wantFlags(t, token, userFlags|soFlags, who.low|who.lock)
				wantCode(t, "right PIN, locked", token.Login(ctx, who.user, right), pkcs11.CKR_PIN_LOCKED)
				wantCode(t, "SetPIN, locked", token.SetPIN(ctx, who.user, right, newUserPIN), pkcs11.CKR_PIN_LOCKED)
				must(t, token.Close())
				token = openToken(t, store)
				wantFlags(t, token, userFlags|soFlags, who.low|who.lock)
				wantCode(t, "right PIN, locked, after a restart", token.Login(ctx, who.user, right), pkcs11.CKR_PIN_LOCKED)
				if who.user == pkcs11.CKU_SO {
					wantCode(t, "InitToken, locked", token.InitToken(ctx, soPIN, "x"), pkcs11.CKR_PIN_LOCKED)
					must(t, token.Login(ctx, pkcs11.CKU_USER, userPIN)) // counts by itself
					return
				}
				must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
				must(t, token.InitPIN(ctx, newUserPIN))
				wantFlags(t, token, userFlags|soFlags, 0)
				must(t, token.Logout(ctx))
				wantCode(t, "old PIN", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_PIN_INCORRECT)
				must(t, token.Login(ctx, pkcs11.CKU_USER, newUserPIN))
			})
		})
	}
}

// TestDelay measures how long wrong PINs take, in the bubble's time: not at all
// at first, then longer each time, and nothing after a right one.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := newToken(t, new(pal.Mem))
		took := func(pin []byte) time.Duration {
			start := time.Now()
			token.Login(ctx, pkcs11.CKU_USER, pin)
			return time.Since(start)
		}
		ms := time.Millisecond
		for i, want := range []time.Duration{0, 0, 0, 0, 0, 100 * ms, 200 * ms, 400 * ms, 800 * ms} {
			if got := took([]byte("wrong")); got != want {
				t.Errorf("wrong PIN %d took %v, want %v", i+1, got, want)
			}
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := token.Login(short, pkcs11.CKU_USER, userPIN); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a try that was given up: %v", err)
		}
		wantFlags(t, token, userFlags, pkcs11.CKF_USER_PIN_COUNT_LOW|pkcs11.CKF_USER_PIN_LOCKED)
	})
	if d := delay(254, 255); d != 8*time.Second {
		t.Errorf("the longest delay is %v", d)
	}
}

// TestMaxTries is a limit of the token, not of the program that opens it.
func TestMaxTries(t *testing.T) {
	store := new(pal.Mem)
	token, err := New(store, &Options{KDF: cheap.KDF, MaxTries: 2})
	must(t, err)
	must(t, token.InitToken(ctx, soPIN, "x"))
	token = openToken(t, store)
	for range 2 {
		wantCode(t, "wrong PIN", token.Login(ctx, pkcs11.CKU_SO, userPIN), pkcs11.CKR_PIN_INCORRECT)
	}
	wantCode(t, "third", token.Login(ctx, pkcs11.CKU_SO, soPIN), pkcs11.CKR_PIN_LOCKED)
}

// spy reports what is in the record of tries while the platform unseals the key,
// that is after the try is counted and before the PIN is checked.
type spy struct {
	*pal.Mem
	seen []triesRecord
}

func (s *spy) Seal(secret []byte) ([]byte, error) { return append([]byte("sealed"), secret...), nil }
func (s *spy) Unseal(sealed []byte) ([]byte, error) {
	b, err := s.Load(nameTries)
	if err == nil {
		r, _ := parseTries(b)
		s.seen = append(s.seen, r)
	}
	if !strings.HasPrefix(string(sealed), "sealed") {
		return nil, errors.New("another platform")
	}
	return sealed[len("sealed"):], nil
}

func TestTryIsCountedBeforeThePINIsChecked(t *testing.T) {
	store := &spy{Mem: new(pal.Mem)}
	token := newToken(t, store)
	store.seen = nil
	wantCode(t, "wrong PIN", token.Login(ctx, pkcs11.CKU_USER, []byte("wrong")), pkcs11.CKR_PIN_INCORRECT)
	login(t, token)
	if len(store.seen) != 2 || store.seen[0].user != 1 || store.seen[1].user != 2 {
		t.Errorf("the record while the PIN was checked: %+v; want 1, then 2 tries of the user", store.seen)
	}
	if b, err := store.Load(nameTries); err != nil {
		t.Error(err)
	} else if r, err := parseTries(b); err != nil || r.user != 0 {
		t.Errorf("afterwards: %+v, %v", r, err)
	}
}

// TestTryThatCannotBeCounted is refused, unless the medium cannot be written.
func TestTryThatCannotBeCounted(t *testing.T) {
	mem := new(pal.Mem)
	token := newToken(t, mem)
	login(t, token)
	generateP256(t, token, "key")
	must(t, token.Close())

	f := &flaky{Store: mem, cut: 1, err: errors.New("EIO")}
	token = openToken(t, batching{f})
	wantCode(t, "login, EIO", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_DEVICE_ERROR)

	for _, reason := range []error{pal.ErrReadOnly, pal.ErrFull} {
		t.Run(reason.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := openToken(t, batching{&flaky{Store: mem, cut: 1, err: reason}})
				login(t, token)
				signer := find(t, token, pkcs11.CKO_PRIVATE_KEY, "key").(driver.Signer)
				if _, err := signer.Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, make([]byte, 32)); err != nil {
					t.Error(err)
				}
				_, _, err := token.GenerateKeyPair(ctx, ecGen, publicTemplate(pkcs11.CKK_EC, "n", pkcs11.CKA_EC_PARAMS, oidP256), privateTemplate(pkcs11.CKK_EC, "n"), nil)
				if reason == pal.ErrReadOnly {
					wantCode(t, "generate", err, pkcs11.CKR_TOKEN_WRITE_PROTECTED)
					wantFlags(t, token, pkcs11.CKF_WRITE_PROTECTED, pkcs11.CKF_WRITE_PROTECTED)
				} else {
					wantCode(t, "generate", err, pkcs11.CKR_DEVICE_MEMORY)
					wantFlags(t, token, pkcs11.CKF_WRITE_PROTECTED, 0)
				}
				must(t, token.Logout(ctx))
				for range DefaultMaxTries {
					wantCode(t, "wrong PIN", token.Login(ctx, pkcs11.CKU_USER, []byte("wrong")), pkcs11.CKR_PIN_INCORRECT)
				}
				wantCode(t, "tries in memory", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_PIN_LOCKED)
			})
		})
	}
}

func TestInitTokenAgain(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	generateP256(t, token, "key")
	serial := token.Info().SerialNumber
	must(t, token.Logout(ctx))
	wantCode(t, "wrong SO PIN", token.InitToken(ctx, userPIN, "new"), pkcs11.CKR_PIN_INCORRECT)
	if n := len(records(t, store)); n != 2 {
		t.Errorf("%d objects after a wrong PIN", n)
	}
	must(t, token.InitToken(ctx, soPIN, "new"))
	if i := token.Info(); i.Label != "new" || i.SerialNumber != serial {
		t.Errorf("info %+v; want the serial number %s", i, serial)
	}
	wantFlags(t, token, pkcs11.CKF_USER_PIN_INITIALIZED|soFlags, 0)
	if n := len(records(t, store)); n != 0 || len(objects(t, token)) != 0 {
		t.Errorf("%d records of objects, objects %v", n, objects(t, token))
	}
	wantCode(t, "user", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
}

func TestContextSpecificLogin(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	_, priv := generateP256(t, token, "key")
	must(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN))
	wantCode(t, "wrong", token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, soPIN), pkcs11.CKR_PIN_INCORRECT)
	wantFlags(t, token, userFlags, pkcs11.CKF_USER_PIN_COUNT_LOW)
	if _, err := priv.(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, make([]byte, 32)); err != nil {
		t.Errorf("the user is logged out: %v", err)
	}
	must(t, token.Logout(ctx))
	must(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN))
	if n := len(objects(t, token)); n != 1 {
		t.Errorf("a context-specific login shows %d objects", n)
	}
}

// TestLogout: after it, nothing that needs the token key works or is shown.
func TestLogout(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	pub, priv := generateP256(t, token, "key")
	secret, err := token.GenerateKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN},
		append(common(pkcs11.CKO_SECRET_KEY, "s", false), attrs(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES, pkcs11.CKA_VALUE_LEN, uint64(16))...), nil)
	must(t, err)
	signer := priv.(driver.Signer)
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	_, err = signer.Sign(ctx, m, make([]byte, 32))
	must(t, err)
	key := priv.(stored).base().secret.key.Load()
	keys := token.keys
	must(t, token.Logout(ctx))

	for _, x := range key.ec.D.Bits()[:cap(key.ec.D.Bits())] {
		if x != 0 {
			t.Error("the private key is in memory")
		}
	}
	for _, x := range keys.tokenKey {
		if x != 0 {
			t.Fatal("the token key is in memory")
		}
	}
	if list := objects(t, token); len(list) != 2 {
		t.Errorf("objects after logout: %v; want the public ones", list)
	}
	_, err = signer.Sign(ctx, m, make([]byte, 32))
	wantCode(t, "sign", err, pkcs11.CKR_USER_NOT_LOGGED_IN)
	_, err = secret.(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CMAC}, nil)
	wantCode(t, "CMAC with a key that is not private", err, pkcs11.CKR_USER_NOT_LOGGED_IN)
	_, err = priv.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE)
	wantCode(t, "export", err, pkcs11.CKR_USER_NOT_LOGGED_IN)
	_, err = token.Update(ctx, pub, attrs(pkcs11.CKA_LABEL, "x"))
	wantCode(t, "update", err, pkcs11.CKR_USER_NOT_LOGGED_IN)
	wantCode(t, "destroy", token.Destroy(ctx, pub), pkcs11.CKR_USER_NOT_LOGGED_IN)

	must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
	if list := objects(t, token); len(list) != 2 {
		t.Errorf("objects for the SO: %v; want the public ones", list)
	}
	_, err = signer.Sign(ctx, m, make([]byte, 32))
	wantCode(t, "sign as SO", err, pkcs11.CKR_USER_NOT_LOGGED_IN)
	must(t, token.Logout(ctx))
	login(t, token)
	if _, err := find(t, token, pkcs11.CKO_PRIVATE_KEY, "key").(driver.Signer).Sign(ctx, m, make([]byte, 32)); err != nil {
		t.Error(err)
	}
}

func TestNoPIN(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed %v", sealed), func(t *testing.T) {
			var store pal.Store = new(pal.Mem)
			if sealed {
				store = &spy{Mem: new(pal.Mem)}
			}
			token, err := New(store, &Options{KDF: cheap.KDF, NoPIN: true})
			must(t, err)
			must(t, token.InitToken(ctx, soPIN, "unattended"))
			wantFlags(t, token, pkcs11.CKF_LOGIN_REQUIRED|pkcs11.CKF_USER_PIN_INITIALIZED, 0)
			generateP256(t, token, "key")
			must(t, token.Close())

			token = openToken(t, store) // what it is, is in the record
			m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
			sign := func(when string) {
				t.Helper()
				_, err := find(t, token, pkcs11.CKO_PRIVATE_KEY, "key").(driver.Signer).Sign(ctx, m, make([]byte, 32))
				if err != nil {
					t.Errorf("%s: %v", when, err)
				}
			}
			sign("without login")
			must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
			wantCode(t, "InitPIN", token.InitPIN(ctx, userPIN), pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
			if n := len(objects(t, token)); n != 1 {
				t.Errorf("the SO sees %d objects", n)
			}
			must(t, token.Logout(ctx))
			sign("after the SO")
			wantCode(t, "login of the user", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
			wantCode(t, "InitToken, wrong PIN", token.InitToken(ctx, userPIN, "x"), pkcs11.CKR_PIN_INCORRECT)
			sign("after a wrong PIN")
			must(t, token.InitToken(ctx, soPIN, "again"))
			wantFlags(t, token, pkcs11.CKF_LOGIN_REQUIRED, pkcs11.CKF_LOGIN_REQUIRED)
		})
	}
}

// TestSealer: records that a platform has sealed are of no use elsewhere.
func TestSealer(t *testing.T) {
	store := &spy{Mem: new(pal.Mem)}
	token := newToken(t, store)
	login(t, token)
	generateP256(t, token, "key")
	must(t, token.Close())
	token = openToken(t, clone(t, store.Mem))
	wantCode(t, "on a platform without a key", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_DEVICE_ERROR)
	token = openToken(t, other{store})
	wantCode(t, "on another platform", token.Login(ctx, pkcs11.CKU_USER, userPIN), pkcs11.CKR_DEVICE_ERROR)
	token = openToken(t, store)
	login(t, token)
	must(t, token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, newUserPIN))
	must(t, token.Logout(ctx))
	must(t, token.Login(ctx, pkcs11.CKU_USER, newUserPIN))
}

type other struct{ *spy }

func (o other) Unseal([]byte) ([]byte, error) { return nil, errors.New("not sealed here") }

// TestErrorsHoldNoPIN collects errors of everything that is given a PIN.
func TestErrorsHoldNoPIN(t *testing.T) {
	secret := []byte("s3cret-PIN-of-mine")
	token := newToken(t, new(pal.Mem))
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	list := []error{
		token.Login(ctx, pkcs11.CKU_USER, secret),
		token.Login(ctx, pkcs11.CKU_SO, secret),
		token.Login(canceled, pkcs11.CKU_SO, secret),
		token.InitPIN(ctx, secret),
		token.InitPIN(ctx, append(secret, make([]byte, 300)...)),
		token.SetPIN(ctx, pkcs11.CKU_USER, secret, secret),
		token.InitToken(ctx, secret, "x"),
		token.InitToken(ctx, secret, strings.Repeat("x", 40)),
	}
	for i, err := range list {
		if err == nil {
			t.Errorf("%d: no error", i)
		}
		if s := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(s, "s3cret") || strings.Contains(s, "733363726574") {
			t.Errorf("the error holds the PIN: %s", s)
		}
	}
}

// TestUpgrade raises the cost of a PIN at login, where that is asked for.
func TestUpgrade(t *testing.T) {
	more := KDF{MemoryKiB: 16, Passes: 2, Threads: 1}
	open := func(store pal.Store, kdf KDF) *Token {
		token, err := New(store, &Options{KDF: kdf})
		must(t, err)
		t.Cleanup(func() { token.Close() })
		return token
	}
	costs := func(token *Token) [2]KDF { return [2]KDF{token.rec.so.kdf, token.rec.user.kdf} }
	store := new(pal.Mem)
	newToken(t, store)

	token := open(store, KDF{})
	login(t, token)
	if got := costs(token); got != [2]KDF{cheap.KDF, cheap.KDF} {
		t.Errorf("without being asked, the costs are %v", got)
	}
	token = open(readOnly{store}, more)
	login(t, token)
	if got := costs(token); got != [2]KDF{cheap.KDF, cheap.KDF} {
		t.Errorf("on a medium that cannot be written, the costs are %v", got)
	}
	token = open(store, more)
	wantCode(t, "wrong PIN", token.Login(ctx, pkcs11.CKU_USER, []byte("wrong")), pkcs11.CKR_PIN_INCORRECT)
	if got := costs(token); got[1] != cheap.KDF {
		t.Errorf("after a wrong PIN, the costs are %v", got)
	}
	login(t, token)
	_, priv := generateP256(t, token, "key")
	if got := costs(token); got != [2]KDF{cheap.KDF, more} {
		t.Errorf("after a login of the user, the costs are %v", got)
	}
	must(t, token.Logout(ctx))
	must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
	if got := costs(token); got != [2]KDF{more, more} {
		t.Errorf("after a login of the SO, the costs are %v", got)
	}
	token = open(store, cheap.KDF)
	login(t, token)
	if got := costs(token); got != [2]KDF{more, more} {
		t.Errorf("a program that wants less has made the costs %v", got)
	}
	if _, err := find(t, token, pkcs11.CKO_PRIVATE_KEY, "key").(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, make([]byte, 32)); err != nil {
		t.Errorf("%v: %v", priv, err)
	}
	wantFlags(t, token, userFlags|soFlags, 0)
}

// readOnly is a store that cannot be written.
type readOnly struct{ *pal.Mem }

func (readOnly) Save(string, []byte) error { return pal.ErrReadOnly }
func (readOnly) Remove(string) error       { return pal.ErrReadOnly }
func (readOnly) Batch([]pal.Change) error  { return pal.ErrReadOnly }

// TestWrongPINsCostTheSame has every wrong PIN, of whatever length, go through the
// key derivation, cost a try, and be the same error.
func TestWrongPINsCostTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var texts []string
		for _, pin := range []string{"", "1", "123", "wrong", "user-pin-12345", "user-pin-1234567", strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("x", 4000)} {
			token, err := New(new(pal.Mem), &Options{KDF: KDF{MemoryKiB: 1 << 10, Passes: 1, Threads: 1}})
			must(t, err)
			must(t, token.InitToken(ctx, soPIN, "gateway"))
			must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
			must(t, token.InitPIN(ctx, userPIN))
			must(t, token.Logout(ctx))
			start, derived := time.Now(), token.derived.Load()
			err = token.Login(ctx, pkcs11.CKU_USER, []byte(pin))
			if token.derived.Load() != derived+1 {
				t.Errorf("a PIN of %d bytes is refused without a look at it", len(pin))
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("a PIN of %d bytes waits %v", len(pin), d)
			}
			wantCode(t, fmt.Sprintf("a PIN of %d bytes", len(pin)), err, pkcs11.CKR_PIN_INCORRECT)
			if token.used(userRole) != 1 {
				t.Errorf("a PIN of %d bytes counts %d times", len(pin), token.used(userRole))
			}
			texts = append(texts, err.Error())
			must(t, token.Close())
		}
		for _, s := range texts {
			if s != texts[0] {
				t.Errorf("%q and %q", s, texts[0])
			}
		}
	})
}
