package ateccsim

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
)

func TestParseQuestions(t *testing.T) {
	q, err := ParseQuestions("random-first, otp-first,aead,pad-ff,no-gpio,hkdf-expand")
	if want := (Questions{RandomFirst: true, OTPFirst: true, AEAD: true, PadFF: true, NoGPIO: true, HKDFExpand: true}); err != nil || q != want {
		t.Errorf("%+v, %v", q, err)
	}
	if _, err := ParseQuestions("rain"); err == nil || !strings.Contains(err.Error(), "late-slot-lock") {
		t.Errorf("%v", err)
	}
}

func hmacOf(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// TestQuestions turns each switch and finds the difference, on a chip with every
// policy whose TempKey, message buffer and alternate key are loaded with sevens.
func TestQuestions(t *testing.T) {
	sevens := bytes.Repeat([]byte{7}, 32)
	other := append([]byte{8, 0, 4, 0}, zeros[:9]...)
	reqRandom := func(n int) func(*Chip) {
		return func(c *Chip) { c.ee.Config[cfgKeyConfig+2*n] |= 0x40 }
	}
	exec := func(op, p1 byte, p2 uint16, data ...[]byte) func(*testing.T, *Chip, bool) {
		return func(t *testing.T, c *Chip, on bool) {
			wantStatus(t, c, [2]Status{StatusOK, StatusExec}[bit(on, 0)], op, p1, p2, data...)
		}
	}
	prf := []byte{1, 3, 0, 16}
	for _, tt := range []struct {
		name  string
		setUp func(*Chip)
		run   func(t *testing.T, c *Chip, on bool)
	}{
		{"random-first", func(c *Chip) { reqRandom(2)(c); c.vol.seeded = false }, exec(opSign, 0xA0, 2)},
		{"random-first", func(c *Chip) { reqRandom(2)(c); c.vol.seeded = false }, exec(opECDH, 0x0C, 2, unhex(t, keyX+keyY))},
		{"random-challenge", reqRandom(4), exec(opMAC, 0, 4, sevens)},
		{"compact-context", nil, func(t *testing.T, c *Chip, on bool) {
			wantStatus(t, c, StatusOK, opSHA, shaStart, 0)
			wantStatus(t, c, StatusOK, opSHA, shaUpdate, 5, []byte{1, 2, 3, 4, 5})
			want := "05000000 00000000 6a09e667 bb67ae85 3c6ef372 a54ff53a 510e527f 9b05688c 1f83d9ab 5be0cd19 0102030405"
			if on {
				want = "05000000 67e6096a 85ae67bb 72f36e3c 3af54fa5 7f520e51 8c68059b abd9831f 19cde05b 0102030405"
			}
			wantData(t, c, want, opSHA, shaRead, 0)
			ctx := unhex(t, want)
			wantStatus(t, c, StatusOK, opSHA, shaStart, 0)
			wantStatus(t, c, StatusParse, opSHA, shaWrite, uint16(len(ctx)-1), ctx[1:])
			wantStatus(t, c, StatusOK, opSHA, shaWrite, uint16(len(ctx)), ctx)
			sum := sha256.Sum256([]byte{1, 2, 3, 4, 5})
			wantData(t, c, hexOf(sum[:]), opSHA, 0xC2, 0)
			// The longest.
			wantStatus(t, c, StatusOK, opSHA, shaStart, 0)
			wantStatus(t, c, StatusOK, opSHA, shaUpdate, 60, zeros[:60])
			wantStatus(t, c, [2]Status{StatusExec, StatusOK}[bit(on, 0)], opSHA, shaRead, 0)
		}},
		{"hkdf-expand", nil, func(t *testing.T, c *Chip, on bool) {
			info := sevens[:5]
			if on {
				info = append(bytes.Clone(info), 1)
			}
			wantData(t, c, hexOf(hmacOf(sevens, info)), opKDF, kdfOutput<<2|0x40, 0, []byte{2, 0, 0, 5}, sevens[:5])
		}},
		{"aead", nil, func(t *testing.T, c *Chip, on bool) {
			if !on {
				wantStatus(t, c, StatusParse, opKDF, kdfAlt|kdfTemp<<2, 0, prf, sevens[:16])
				return
			}
			a := hmacOf(sevens, sevens[:16])
			first, second := hmacOf(sevens, a, sevens[:16]), hmacOf(sevens, hmacOf(sevens, a), sevens[:16])
			wantData(t, c, hexOf(second), opKDF, kdfAlt|kdfTemp<<2, 0, prf, sevens[:16])
			wantTemp(t, c, hexOf(first))
			wantStatus(t, c, StatusParse, opKDF, kdfAlt|kdfOutput<<2, 0, prf, sevens[:16])
			c.ee.Config[cfgChipOptions+1] |= 1 << 2 // KDF output is to be encrypted, this is not
			wantStatus(t, c, StatusExec, opKDF, kdfAlt|kdfTemp<<2, 0, prf, sevens[:16])
		}},
		{"otp-first", func(c *Chip) { c.ee.Config[cfgLockData] = unlocked; c.ee.Data[0] = 1 }, func(t *testing.T, c *Chip, on bool) {
			wantStatus(t, c, [2]Status{StatusOK, StatusExec}[bit(on, 0)], opLock, 1, crc(c.ee.Data[:], c.ee.OTP[:]))
			if on {
				wantStatus(t, c, StatusOK, opLock, 1, crc(c.ee.OTP[:], c.ee.Data[:]))
			}
		}},
		{"match-both", func(c *Chip) { copy(c.ee.Slot(10), []byte{9, 0, 0, 0, 8, 0, 0, 0}) }, exec(opSign, 0xA0, 0)},
		{"match-past", func(c *Chip) { copy(c.ee.Slot(10), zeros[:8]) }, func(t *testing.T, c *Chip, on bool) {
			wantStatus(t, c, [2]Status{StatusExec, StatusOK}[bit(on, 0)], opSign, 0xA0, 0)
		}},
		{"strict-protection", func(c *Chip) { c.ee.Config[cfgChipOptions+1] |= 2 }, exec(opECDH, 0x08, 2, unhex(t, keyX+keyY))},
		{"keep-buffers", nil, func(t *testing.T, c *Chip, on bool) {
			wantStatus(t, c, StatusOK, opSign, 0xA0, 2)
			wantStatus(t, c, [2]Status{StatusExec, StatusOK}[bit(on, 0)], opSign, 0x80, 2)
			wantStatus(t, c, [2]Status{StatusExec, StatusOK}[bit(on, 0)], opSign, 0xA0, 2)
		}},
		{"no-gpio", nil, exec(opInfo, 3, 0)},
		{"pad-ff", nil, func(t *testing.T, c *Chip, on bool) {
			copy(c.ee.Slot(11)[64:], sevens)
			want := strings.Repeat("07", 8) + strings.Repeat([2]string{"00", "ff"}[bit(on, 0)], 24)
			wantData(t, c, want, opRead, 0x82, 0x200|11<<3)
		}},
		{"blank-key-exec", func(c *Chip) { clear(c.ee.Slot(2)) }, func(t *testing.T, c *Chip, on bool) {
			wantStatus(t, c, [2]Status{StatusECC, StatusExec}[bit(on, 0)], opGenKey, 0, 2)
		}},
		{"boot-keeps-latch", func(c *Chip) {
			c.ee.Config[cfgSecureBoot] |= 8
			copy(c.ee.Slot(12), sevens)
		}, func(t *testing.T, c *Chip, on bool) {
			wantStatus(t, c, StatusOK, opSecureBoot, bootFullStore, 0, sevens)
			if c.latch == on {
				t.Errorf("latch is %t", c.latch)
			}
		}},
		{"late-slot-lock", func(c *Chip) { c.ee.Config[cfgLockData] = unlocked }, exec(opLock, 0x02|8<<2, 0)},
		{"early-gen-key", func(c *Chip) { c.ee.Config[cfgLockData], c.ee.Config[cfgLockConfig] = unlocked, unlocked }, func(t *testing.T, c *Chip, on bool) {
			wantStatus(t, c, [2]Status{StatusExec, StatusOK}[bit(on, 0)], opGenKey, 4, 2)
		}},
	} {
		for _, on := range []bool{false, true} {
			t.Run(tt.name+[2]string{" as documented", " the other way"}[bit(on, 0)], func(t *testing.T) {
				c := vectorChip(t)
				c.ee.Config[cfgKeyConfig+16] |= 0x20 // slot 8 can be locked
				wantStatus(t, c, StatusOK, opNonce, 0x43, 0, sevens)
				wantStatus(t, c, StatusOK, opNonce, 0x83, 0, sevens)
				wantStatus(t, c, StatusOK, opNonce, 0x03, 0, sevens)
				if on {
					q, err := ParseQuestions(tt.name)
					if err != nil {
						t.Fatal(err)
					}
					c.opts.Open = q
				}
				if tt.setUp != nil {
					tt.setUp(c)
				}
				tt.run(t, c, on)
			})
		}
	}
	t.Run("transport-lock", func(t *testing.T) {
		s := must(t)(Everything(DefaultSerial, nil))
		copy(s.Slot(4), sevens)
		s.Config[cfgUseLock] = 0x4A
		if _, err := New(s, nil); err == nil || !strings.Contains(err.Error(), "TransportLock") {
			t.Errorf("without the question: %v", err)
		}
		c := newChip(t, s, &Options{Open: Questions{TransportLock: true}})
		wakeUp(t, c)
		closed := func() {
			t.Helper()
			wantStatus(t, c, StatusOK, opNonce, 0x43, 0, sevens)
			wantStatus(t, c, StatusExec, opSign, 0xA0, 2)
			wantStatus(t, c, StatusExec, opECDH, 0x0C, 2, unhex(t, keyX+keyY))
			wantStatus(t, c, StatusExec, opAES, 0, 10, zeros[:16])
			wantStatus(t, c, StatusExec, opMAC, 0, 8, sevens)
			wantStatus(t, c, StatusExec, opGenKey, 0, 2)
			wantStatus(t, c, StatusOK, opRandom, 0, 0)
			wantStatus(t, c, StatusOK, opInfo, 0, 0)
		}
		closed()
		mac := digest(sevens, sevens, []byte{8, 0, 4, 0}, zeros[:11], c.sn8(), zeros[:4], c.sn01(), zeros[:2])
		wantStatus(t, c, StatusMiscompare, opCheckMac, 0, 4, sevens, sevens, other)
		closed()
		wantStatus(t, c, StatusOK, opCheckMac, 0, 4, sevens, mac[:], other)
		send(t, c, "02")
		wakeUp(t, c)
		wantStatus(t, c, StatusOK, opNonce, 0x43, 0, sevens)
		wantStatus(t, c, StatusOK, opSign, 0xA0, 2)
		send(t, c, "01")
		wakeUp(t, c)
		closed()
	})
}
