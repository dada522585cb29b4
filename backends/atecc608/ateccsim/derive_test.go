package ateccsim

import (
	"bytes"
	"testing"
)

// TestHKDFMessages has the message at each of its places.
func TestHKDFMessages(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	message := count32() // 64 bytes
	setUp := func(t *testing.T) *Chip {
		c := vectorChip(t)
		copy(c.ee.Slot(4), message)
		wantStatus(t, c, StatusOK, opNonce, 0x83, 0, key)
		wantStatus(t, c, StatusOK, opNonce, 0x23, 0, message)
		return c
	}
	const p1 = kdfAlt | kdfOutput<<2 | kdfHKDF<<5
	for _, tt := range []struct {
		name    string
		details []byte
		given   []byte
		want    []byte
	}{
		{"in a slot", []byte{0, 4, 0, 32}, nil, message[:32]},
		{"in a slot, and as many bytes that mean nothing", []byte{0, 4, 0, 32}, key, message[:32]},
		{"short in a slot", []byte{0, 4, 0, 1}, nil, message[:1]},
		{"in TempKey", []byte{1, 0, 0, 32}, nil, message[:32]},
		{"in all of TempKey", []byte{1, 0, 0, 64}, nil, message},
		{"given", []byte{2, 0, 0, 3}, message[:3], message[:3]},
		{"empty", []byte{2, 0, 0, 0}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantData(t, setUp(t), hexOf(hmacOf(key, tt.want)), opKDF, p1, 0, tt.details, tt.given)
		})
	}
	c := setUp(t)
	wantStatus(t, c, StatusParse, opKDF, p1, 0, []byte{1, 0, 0, 32}, key[:31])
	wantStatus(t, c, StatusParse, opKDF, p1, 0, []byte{2, 0, 0, 32}, key[:31])
	wantStatus(t, c, StatusExec, opKDF, p1, 0, []byte{0, 2, 0, 32}) // a private key is no message
	wantStatus(t, c, StatusExec, opKDF, p1, 0, []byte{0, 4, 0, 37}) // more than the slot has
	wantStatus(t, c, StatusOK, opNonce, 3, 0, key)
	wantStatus(t, c, StatusExec, opKDF, p1, 0, []byte{1, 0, 0, 33}) // the upper half was not loaded

	// With a key of zeros nothing has to be loaded.
	c = vectorChip(t)
	wantStatus(t, c, StatusExec, opKDF, p1, 0, []byte{2, 0, 0, 3}, key[:3])
	wantData(t, c, hexOf(hmacOf(zeros[:32], key[:3])), opKDF, p1, 0, []byte{6, 0, 0, 3}, key[:3])
}

// TestKDFKeys takes the key from each source, in each length.
func TestKDFKeys(t *testing.T) {
	c := vectorChip(t)
	long := count32()
	copy(c.ee.Slot(13), long)
	msg := []byte("label and seed")
	prf := func(key []byte) string { return hexOf(hmacOf(key, hmacOf(key, msg), msg)) }
	ask := func(source byte, size int) []byte { return []byte{byte(size/16 - 1), 0, 0, byte(len(msg))} }
	wantStatus(t, c, StatusOK, opNonce, 0x23, 0, long)
	for _, size := range []int{16, 32, 48, 64} {
		wantData(t, c, prf(long[:size]), opKDF, kdfTemp|kdfOutput<<2, 0, ask(kdfTemp, size), msg)
		wantData(t, c, prf(long[:size]), opKDF, kdfSlot|kdfOutput<<2, 13, ask(kdfSlot, size), msg)
		if size <= 32 {
			wantData(t, c, prf(long[32:32+size]), opKDF, kdfTempUpper|kdfOutput<<2, 0, ask(kdfTempUpper, size), msg)
		} else {
			wantStatus(t, c, StatusExec, opKDF, kdfTempUpper|kdfOutput<<2, 0, ask(kdfTempUpper, size), msg)
			wantStatus(t, c, StatusExec, opKDF, kdfSlot|kdfOutput<<2, 4, ask(kdfSlot, size), msg) // slot 4 has 36 bytes
		}
	}
	wantStatus(t, c, StatusOK, opNonce, 3, 0, long[:32])
	wantStatus(t, c, StatusExec, opKDF, kdfTempUpper|kdfOutput<<2, 0, ask(0, 16), msg)
	wantStatus(t, c, StatusExec, opKDF, kdfTemp|kdfOutput<<2, 0, ask(0, 48), msg)
	wantStatus(t, c, StatusExec, opKDF, kdfSlot|kdfOutput<<2, 2, ask(0, 16), msg) // a private key
	wantStatus(t, c, StatusExec, opKDF, kdfSlot|kdfOutput<<2, 5, ask(0, 16), msg) // needs the latch
	wantStatus(t, c, StatusParse, opKDF, kdfSlot|kdfOutput<<2, 16, ask(0, 16), msg)
	wantStatus(t, c, StatusParse, opKDF, kdfTemp|kdfSlot<<2, 0x1000, ask(0, 16), msg)
	// To each target. The upper half of TempKey is loaded then.
	wantStatus(t, c, StatusExec, opAES, 0x80, slotTempKey, zeros[:16])
	wantStatus(t, c, StatusOK, opKDF, kdfTemp|kdfTempUpper<<2, 0, ask(0, 32), msg)
	wantStatus(t, c, StatusOK, opAES, 0x80, slotTempKey, zeros[:16])
	wantStatus(t, c, StatusOK, opKDF, kdfTemp|kdfAlt<<2, 0, ask(0, 32), msg)
	if got := hexOf(c.vol.alt[:]); got != prf(long[:32]) {
		t.Errorf("alternate key is %s", got)
	}
	wantStatus(t, c, StatusOK, opKDF, kdfTemp|kdfSlot<<2, 0x0D00, ask(0, 32), msg)
	if got := hexOf(c.ee.Slot(13)[:32]); got != prf(long[:32]) {
		t.Errorf("slot 13 is %s", got)
	}
	wantStatus(t, c, StatusExec, opKDF, kdfTemp|kdfSlot<<2, 0x0200, ask(0, 32), msg)
	wantStatus(t, c, StatusOK, opKDF, kdfTemp|kdfTemp<<2, 0, ask(0, 32), msg)
	wantTemp(t, c, prf(long[:32]))
	wantStatus(t, c, StatusOK, opLock, 0x02|13<<2, 0)
	wantStatus(t, c, StatusExec, opKDF, kdfTemp|kdfSlot<<2, 0x0D00, ask(0, 32), msg)
}

// TestDeriveKeyParent authorizes a roll with the key of the parent, not of the
// slot itself, and counts only the parent's uses.
func TestDeriveKeyParent(t *testing.T) {
	c := vectorChip(t)
	copy(c.ee.Slot(9), bytes.Repeat([]byte{9}, 32))
	setSlotConfig := func(n int, v uint16) {
		c.ee.Config[cfgSlotConfig+2*n], c.ee.Config[cfgSlotConfig+2*n+1] = byte(v), byte(v>>8)
	}
	roll := func() Status {
		nonceT0(t, c)
		mac := digest(unhex(t, keyK), []byte{opDeriveKey, 0, 9, 0}, c.sn8(), c.sn01())
		_, s := call(t, c, opDeriveKey, 0, 9, mac[:])
		return s
	}
	setSlotConfig(9, 0xA4C4) // roll with a MAC of key 4
	if s := roll(); s != StatusOK {
		t.Fatalf("MAC by the write key: %v", s)
	}
	nonceT0(t, c)
	own := digest(c.ee.Slot(9)[:32], []byte{opDeriveKey, 0, 9, 0}, c.sn8(), c.sn01())
	wantStatus(t, c, StatusExec, opDeriveKey, 0, 9, own[:])
	wantStatus(t, c, StatusExec, opDeriveKey, 4, 9, own[:]) // the source of TempKey is random
	// Without a parent, uses of the slot itself do not count.
	setSlotConfig(9, 0x24E4)
	nonceT0(t, c)
	wantStatus(t, c, StatusOK, opDeriveKey, 0, 9)
	wantData(t, c, "00000000", opCounter, 0, 0)
	// The parent's do.
	setSlotConfig(9, 0xA4C4)
	setSlotConfig(4, uint16(c.ee.slotConfig(4))|0x20)
	if s := roll(); s != StatusOK {
		t.Fatal(s)
	}
	wantData(t, c, "01000000", opCounter, 0, 0)
	copy(c.ee.Slot(10), []byte{1, 0, 0, 0, 1, 0, 0, 0})
	before := bytes.Clone(c.ee.Slot(9))
	if s := roll(); s != StatusExec || !bytes.Equal(before, c.ee.Slot(9)) {
		t.Errorf("beyond the limit: %v", s)
	}
}

// TestNoMacStays: a TempKey that a NoMac key went into makes no encrypted
// transfer, whatever goes into it later.
func TestNoMacStays(t *testing.T) {
	c := vectorChip(t)
	nonceT0(t, c)
	wantStatus(t, c, StatusOK, opGenDig, 2, 6, zeros[:4])
	wantStatus(t, c, StatusOK, opGenDig, 2, 4)
	wantStatus(t, c, StatusExec, opRead, 0x82, 8<<3)
	wantData(t, c, "a4800000", opInfo, 2, 0)
	wantStatus(t, c, StatusExec, opDeriveKey, 0, 9)
}

// TestSignInternalWithReqRandom wants a random number in TempKey.
func TestSignInternalWithReqRandom(t *testing.T) {
	c := vectorChip(t)
	c.ee.Config[cfgKeyConfig] |= 0x40 // slot 0
	wantStatus(t, c, StatusOK, opNonce, 3, 0, zeros[:32])
	wantStatus(t, c, StatusOK, opGenDig, 2, 4)
	wantStatus(t, c, StatusExec, opSign, 0, 0)
	nonceT0(t, c)
	wantStatus(t, c, StatusExec, opSign, 0, 0) // nothing was digested
	wantStatus(t, c, StatusOK, opGenDig, 2, 4)
	wantStatus(t, c, StatusOK, opSign, 0, 0)
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, zeros[:32])
	wantStatus(t, c, StatusOK, opSign, 0xA0, 0) // external: the host's own
}
