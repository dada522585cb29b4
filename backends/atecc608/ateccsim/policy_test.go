package ateccsim

import (
	"bytes"
	"crypto/ecdh"
	"testing"
)

// TestLockPhases walks a blank chip through its life.
func TestLockPhases(t *testing.T) {
	c := newChip(t, newState(DefaultSerial, configGeneric), nil)
	wakeUp(t, c)
	block := bytes.Repeat([]byte{0x5A}, 32)
	dataAt := func(slot int) uint16 { return uint16(slot << 3) }

	// Nothing locked: the configuration is open, the rest closed.
	wantStatus(t, c, StatusExec, opWrite, 0x80, 0, block)
	wantStatus(t, c, StatusExec, opWrite, 0x80, 0x10, block) // bytes 64 to 95 have the lock bytes
	wantStatus(t, c, StatusExec, opWrite, 0, 0x15, block[:4])
	wantStatus(t, c, StatusOK, opWrite, 0, 0x16, []byte{0xFF, 0xFF, 0x0E, 0x60})
	wantStatus(t, c, StatusOK, opUpdateExtra, 0, 0)
	wantStatus(t, c, StatusOK, opUpdateExtra, 0, 7)
	wantStatus(t, c, StatusExec, opUpdateExtra, 0, 8)
	wantStatus(t, c, StatusExec, opWrite, 0x82, dataAt(8), block)
	wantStatus(t, c, StatusExec, opWrite, 0x81, 0, block)
	wantStatus(t, c, StatusExec, opRead, 0x82, dataAt(8))
	wantStatus(t, c, StatusExec, opGenKey, 4, 0)
	wantStatus(t, c, StatusExec, opLock, 0x81, 0)
	wantStatus(t, c, StatusExec, opLock, 0x02, 0)
	wantStatus(t, c, StatusExec, opCounter, 1, 0)
	wantData(t, c, "ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000", opRandom, 0, 0)
	wantStatus(t, c, StatusExec, opLock, 0, crc(c.ee.Config[:])^1)
	wantStatus(t, c, StatusOK, opLock, 0, crc(c.ee.Config[:]))

	// Configuration locked: data is written without policies, nothing read.
	wantStatus(t, c, StatusExec, opLock, 0x80, 0)
	wantStatus(t, c, StatusExec, opWrite, 0, 0x16, block[:4])
	if r := wantStatus(t, c, StatusOK, opRandom, 0, 0); bytes.HasPrefix(r, []byte{0xFF, 0xFF, 0, 0}) {
		t.Errorf("random number %x", r)
	}
	wantStatus(t, c, StatusExec, opWrite, 2, dataAt(8), block[:4])
	wantStatus(t, c, StatusOK, opWrite, 0x82, dataAt(5), block) // encrypted writes only, later
	wantStatus(t, c, StatusOK, opWrite, 0x82, dataAt(6), block)
	wantStatus(t, c, StatusExec, opWrite, 0x82, dataAt(0), block) // a private key
	wantStatus(t, c, StatusExec, opWrite, 1, 0, block[:4])
	wantStatus(t, c, StatusOK, opWrite, 0x81, 0, block)
	wantStatus(t, c, StatusExec, opRead, 0x81, 0)
	wantStatus(t, c, StatusECC, opGenKey, 0, 0)
	pub := wantStatus(t, c, StatusOK, opGenKey, 4, 0)
	if got := wantStatus(t, c, StatusOK, opGenKey, 0, 0); !bytes.Equal(got, pub) {
		t.Errorf("public key %x, then %x", pub, got)
	}
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, block)
	wantStatus(t, c, StatusExec, opSign, 0xA0, 0)
	wantStatus(t, c, StatusOK, opPrivWrite, 0, 4, zeros[:35], []byte{7}, zeros[:32])
	wantStatus(t, c, StatusECC, opPrivWrite, 0, 4, zeros[:36], zeros[:32])
	wantStatus(t, c, StatusECC, opPrivWrite, 0, 4, bytes.Repeat([]byte{0xFF}, 36), zeros[:32])
	wantStatus(t, c, StatusECC, opPrivWrite, 0, 4, []byte{0, 0, 0, 1}, zeros[:31], []byte{7}, zeros[:32]) // four zeros come first
	wantStatus(t, c, StatusExec, opLock, 1, 0)
	wantStatus(t, c, StatusOK, opLock, 1, c.dataCRC())

	// Both locked: the policies are in force.
	wantStatus(t, c, StatusExec, opLock, 0x81, 0)
	wantStatus(t, c, StatusExec, opWrite, 0x81, 0, block)
	wantStatus(t, c, StatusOK, opRead, 0x81, 0)
	wantStatus(t, c, StatusExec, opRead, 0x82, dataAt(0))
	wantStatus(t, c, StatusExec, opRead, 0x82, dataAt(6))
	wantStatus(t, c, StatusExec, opWrite, 0x82, dataAt(5), block)
	wantStatus(t, c, StatusOK, opWrite, 2, dataAt(8)|3, block[:4])
	wantData(t, c, "5a5a5a5a", opRead, 2, dataAt(8)|3)
	wantStatus(t, c, StatusExec, opPrivWrite, 0, 4, zeros[:35], []byte{7}, zeros[:32])
	sig := wantStatus(t, c, StatusOK, opSign, 0xA0, 0)
	wantStatus(t, c, StatusExec, opSign, 0xA0, 0) // the message was spent
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, block)
	wantStatus(t, c, StatusOK, opVerify, 0x22, 4, sig, pub)
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, pub[:32])
	wantStatus(t, c, StatusMiscompare, opVerify, 0x22, 4, sig, pub)
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, block)
	wantStatus(t, c, StatusExec, opSign, 0xA0, 1) // internal only
	wantStatus(t, c, StatusExec, opVerify, 0x22, 4, sig, zeros[:])
	wantStatus(t, c, StatusOK, opGenKey, 4, 0)
	wantStatus(t, c, StatusOK, opLock, 0x02, 0)
	wantStatus(t, c, StatusExec, opLock, 0x02, 0)
	wantStatus(t, c, StatusExec, opGenKey, 4, 0)
	wantStatus(t, c, StatusOK, opSign, 0xA0, 0) // it can still be used
	wantStatus(t, c, StatusOK, opLock, 0x02|8<<2, 0)
	wantStatus(t, c, StatusExec, opWrite, 0x82, dataAt(8), block)
	wantStatus(t, c, StatusOK, opRead, 0x82, dataAt(8))
}

func TestEncryptedRead(t *testing.T) {
	c := vectorChip(t)
	at := uint16(8 << 3)
	nonceT0(t, c)
	wantStatus(t, c, StatusExec, opRead, 0x82, at) // no GenDig
	wantStatus(t, c, StatusOK, opGenDig, 2, 4)
	wantStatus(t, c, StatusExec, opRead, 0x02, at) // 4 bytes
	enc := wantStatus(t, c, StatusOK, opRead, 0x82, at)
	if got := xor(enc, unhex(t, g4)); !bytes.Equal(got, c.ee.Slot(8)[:32]) {
		t.Errorf("slot 8 reads %x", got)
	}
	wantStatus(t, c, StatusExec, opRead, 0x82, at) // TempKey was spent
	wantStatus(t, c, StatusOK, opNonce, 3, 0, zeros[:32])
	wantStatus(t, c, StatusOK, opGenDig, 2, 4)
	wantStatus(t, c, StatusExec, opRead, 0x82, at) // no random number took part
	nonceT0(t, c)
	wantStatus(t, c, StatusOK, opGenDig, 2, 8)
	wantStatus(t, c, StatusExec, opRead, 0x82, at) // another key
	// A NoMac key needs OtherData and makes no encrypted transfer.
	nonceT0(t, c)
	wantStatus(t, c, StatusParse, opGenDig, 2, 6)
	wantStatus(t, c, StatusOK, opGenDig, 2, 6, zeros[:4])
	if !c.vol.temp.noMac {
		t.Error("NoMac flag is not set")
	}
	wantStatus(t, c, StatusExec, opMAC, 0, 6, zeros[:32])
}

func TestLimitedUse(t *testing.T) {
	c := vectorChip(t)
	copy(c.ee.Slot(10), []byte{2, 0, 0, 0, 2, 0, 0, 0})
	for i := range 2 {
		wantStatus(t, c, StatusOK, opNonce, 0x43, 0, zeros[:32])
		wantStatus(t, c, StatusOK, opSign, 0xA0, 0)
		wantData(t, c, []string{"01000000", "02000000"}[i], opCounter, 0, 0)
	}
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, zeros[:32])
	wantStatus(t, c, StatusExec, opSign, 0xA0, 0)
	wantStatus(t, c, StatusOK, opGenKey, 0, 0)
	wantStatus(t, c, StatusOK, opSign, 0xA0, 2) // not limited
	c.setCounter(1, counterMax-1)
	wantData(t, c, "ffff1f00", opCounter, 1, 1)
	wantStatus(t, c, StatusExec, opCounter, 1, 1)
}

func TestPersistentLatch(t *testing.T) {
	c := vectorChip(t)
	wantStatus(t, c, StatusExec, opInfo, 4, 3) // CheckMac comes first
	wantStatus(t, c, StatusExec, opAES, 0, 5, zeros[:16])
	mac := wantStatus(t, c, StatusOK, opMAC, 0, 4, zeros[:32])
	other := append([]byte{8, 0, 4, 0}, zeros[:9]...)
	wantStatus(t, c, StatusOK, opCheckMac, 0, 4, zeros[:32], mac, other)
	wantData(t, c, "01000000", opInfo, 4, 3)
	wantStatus(t, c, StatusOK, opAES, 0, 5, zeros[:16])
	wantData(t, c, "00000000", opInfo, 4, 2)
	wantStatus(t, c, StatusExec, opAES, 0, 5, zeros[:16])
}

func TestSecureBoot(t *testing.T) {
	c := vectorChip(t)
	copy(c.ee.Slot(11), unhex(t, "00000000"+keyX+"00000000"+keyY))
	sum := bytes.Repeat([]byte{9}, 32)
	sig := signWith(t, c, sum)
	wantStatus(t, c, StatusMiscompare, opSecureBoot, bootFullStore, 0, sum)
	wantStatus(t, c, StatusOK, opSecureBoot, bootFullCopy, 0, sum, sig)
	wantStatus(t, c, StatusOK, opSecureBoot, bootFullStore, 0, sum)
	wantStatus(t, c, StatusMiscompare, opSecureBoot, bootFull, 0, zeros[:32], sig)
	wantStatus(t, c, StatusOK, opSecureBoot, bootFull|bootProhibit, 0, sum, sig)
	wantStatus(t, c, StatusExec, opSecureBoot, bootFullStore, 0, sum)
	c.PowerOff()
	c.PowerOn()
	wakeUp(t, c)
	wantStatus(t, c, StatusOK, opSecureBoot, bootFullStore, 0, sum)
}

// TestParse has a form that does not exist for each command: it is a parse error
// on a chip on which the right form would be refused too.
func TestParse(t *testing.T) {
	c := newChip(t, Blank(DefaultSerial), nil)
	wakeUp(t, c)
	for _, tt := range []struct {
		op, p1 byte
		p2     uint16
		n      int
	}{
		{opRead, 3, 0, 0}, {opRead, 0, 0x20, 0}, {opRead, 2, 0x80, 0}, {opRead, 2, 0x200, 0}, {opRead, 0, 0, 1}, {opRead, 1, 0x10, 0},
		{opWrite, 4, 0, 4}, {opWrite, 0, 0, 32}, {opWrite, 0x40, 0, 4}, {opMAC, 8, 0, 32}, {opMAC, 0, 16, 32}, {opMAC, 1, 0, 32},
		{opGenDig, 6, 0, 0}, {opGenDig, 0, 4, 0}, {opGenDig, 3, 0, 0}, {opNonce, 2, 0, 20}, {opNonce, 0, 0, 32}, {opNonce, 0xA3, 0, 64},
		{opLock, 3, 0, 0}, {opLock, 0x40, 0, 0}, {opLock, 4, 0, 0}, {opRandom, 2, 0, 0}, {opDeriveKey, 1, 0, 0}, {opUpdateExtra, 2, 0, 0},
		{opCounter, 2, 0, 0}, {opCounter, 0, 2, 0}, {opCheckMac, 0, 0, 76}, {opInfo, 5, 0, 0}, {opInfo, 1, 16, 0}, {opGenKey, 5, 0, 0},
		{opGenKey, 4, 16, 0}, {opGenKey, 0, slotTempKey, 0}, {opGenKey, 0x10, 8, 0}, {opSign, 2, 0, 0}, {opSign, 0x80, 16, 0},
		{opECDH, 0x10, 0, 64}, {opECDH, 0x0C, 0, 63}, {opECDH, 1, 0, 64}, {opVerify, 1, 0, 64}, {opVerify, 2, 0, 128}, {opVerify, 3, 14, 64},
		{opPrivWrite, 1, 0, 68}, {opPrivWrite, 0, 0, 36}, {opSHA, 5, 0, 0}, {opSHA, 1, 3, 2}, {opSHA, 0x40, 0, 0}, {opSHA, 7, 40, 41},
		{opRead, 2, 0x1000, 0}, {opWrite, 0xC4, 0, 32}, {opGenDig, 3, 0x0104, 32}, {opNonce, 0x40, 0, 20}, {opNonce, 0x20, 0, 20},
		{opNonce, 0, 1, 20}, {opNonce, 3, 0, 20}, {opNonce, 0x23, 0, 32}, {opNonce, 0xC3, 0, 32}, {opRandom, 0, 1, 0}, {opRandom, 0, 0, 1},
		{opUpdateExtra, 0, 0x100, 0}, {opCounter, 0, 0, 1}, {opInfo, 2, 1, 0}, {opInfo, 4, 4, 0}, {opGenDig, 1, 2, 0}, {opGenDig, 4, 2, 0},
		{opGenDig, 5, 16, 0}, {opGenDig, 2, 16, 0}, {opDeriveKey, 0, 16, 0}, {opDeriveKey, 0, 0, 31}, {opMAC, 0x80, 0, 32}, {opCheckMac, 0x10, 0, 77},
		{opGenKey, 0x0C, slotTempKey, 0}, {opGenKey, 0, 0, 1}, {opGenKey, 0x14, 0, 3}, {opSign, 0, 0, 1}, {opECDH, 0x06, 0, 64}, {opVerify, 2, 5, 128},
		{opVerify, 0x23, 14, 83}, {opVerify, 0x83, 14, 83}, {opVerify, 4, 0, 64}, {opVerify, 0, 16, 64}, {opPrivWrite, 0x40, 16, 68},
		{opSHA, 0, 1, 0}, {opSHA, 1, 65, 65}, {opSHA, 2, 64, 64}, {opSHA, 0x82, 0, 0}, {opSHA, 4, 16, 0}, {opSHA, 3, 16, 0}, {opSHA, 6, 1, 0}, {opSHA, 8, 0, 0},
		{opAES, 3, 0, 16}, {opAES, 0x08, 0, 16}, {opAES, 0, 16, 16}, {opKDF, 0x60, 0, 20}, {opKDF, 0x18, 0, 20}, {opKDF, 0x20, 0, 19},
		{opSecureBoot, 5, 0, 32}, {opSecureBoot, 6, 0, 96}, {opSecureBoot, 5, 1, 96}, {opSecureBoot, 0x25, 0, 96}, {opSelfTest, 0, 1, 0}, {opLock, 0x05, 0, 0},
		{opAES, 2, 0, 16}, {opAES, 0, 0, 15}, {opKDF, 0x80, 0, 20}, {opKDF, 0, 0, 3}, {opSelfTest, 0x40, 0, 0}, {opSecureBoot, 4, 0, 96},
	} {
		wantStatus(t, c, StatusParse, tt.op, tt.p1, tt.p2, make([]byte, tt.n))
	}
}

func TestState(t *testing.T) {
	for name, make := range map[string]func() (*State, error){
		"blank":      func() (*State, error) { return Blank(DefaultSerial), nil },
		"generic":    func() (*State, error) { return Generic(DefaultSerial, nil) },
		"trustflex":  func() (*State, error) { return TrustFLEX(DefaultSerial, nil) },
		"trustgo":    func() (*State, error) { return TrustGO(DefaultSerial, nil) },
		"everything": func() (*State, error) { return Everything(DefaultSerial, nil) },
	} {
		s := must(t)(make())
		file := t.TempDir() + "/chip"
		if err := s.SaveFile(file); err != nil {
			t.Fatal(err)
		}
		if got := must(t)(LoadFile(file)); *got != *s {
			t.Errorf("%s: another state is read back", name)
		}
		if name == "blank" {
			continue
		}
		c := newChip(t, s, nil)
		wakeUp(t, c)
		wantData(t, c, "01000000", opInfo, 1, 0)
	}
	var s State
	for _, b := range [][]byte{nil, make([]byte, StateSize-1), make([]byte, StateSize)} {
		if s.UnmarshalBinary(b) == nil {
			t.Errorf("a state of %d zeros was accepted", len(b))
		}
	}
	use := Blank(DefaultSerial)
	use.Config[cfgUseLock] = 0x0A
	if _, err := New(use, nil); err == nil {
		t.Error("UseLock was accepted")
	}
}

// TestKeyConditions has what a configuration can ask for before a key is used.
func TestKeyConditions(t *testing.T) {
	t.Run("secret without EncryptRead", func(t *testing.T) {
		c := vectorChip(t)
		nonceT0(t, c)
		wantStatus(t, c, StatusOK, opGenDig, 2, 4)
		c.vol.temp.keyID = c.ee.slotConfig(6).readKey()
		wantStatus(t, c, StatusExec, opRead, 0x82, 6<<3)
	})
	t.Run("ReqAuth", func(t *testing.T) {
		c := vectorChip(t)
		c.ee.Config[cfgKeyConfig+4] |= 0x80 // slot 2, by key 4
		c.ee.Config[cfgKeyConfig+5] |= 4
		wantStatus(t, c, StatusOK, opNonce, 0x43, 0, zeros[:32])
		wantStatus(t, c, StatusExec, opSign, 0xA0, 2)
		c.vol.auth = 4
		wantStatus(t, c, StatusOK, opSign, 0xA0, 2)
	})
	t.Run("ReqRandom", func(t *testing.T) {
		c := vectorChip(t)
		c.ee.Config[cfgKeyConfig+8] |= 0x40 // slot 4
		wantStatus(t, c, StatusOK, opNonce, 3, 0, zeros[:32])
		wantStatus(t, c, StatusExec, opGenDig, 2, 4)
		nonceT0(t, c)
		wantStatus(t, c, StatusOK, opGenDig, 2, 4)
	})
	t.Run("ECDH protection", func(t *testing.T) {
		peer := unhex(t, keyX+keyY)
		for prot, want := range [4][3]Status{ // clear, encrypted, to TempKey
			{StatusOK, StatusOK, StatusOK},
			{StatusExec, StatusOK, StatusOK},
			{StatusExec, StatusExec, StatusOK},
			{StatusExec, StatusExec, StatusExec},
		} {
			c := vectorChip(t)
			c.ee.Config[cfgChipOptions+1] |= byte(prot)
			for i, p1 := range []byte{0x0C, 0x0E, 0x08} {
				wantStatus(t, c, want[i], opECDH, p1, 2, peer)
			}
		}
	})
}

// TestValidateConditions takes away what Verify(validate) needs, one at a time.
func TestValidateConditions(t *testing.T) {
	other := unhex(t, "00 0000 0000 0000 5e 0000 00000000 0000 01 00 00")
	setUp := func() *Chip {
		c := vectorChip(t)
		copy(c.ee.Config[cfgKeyConfig+26:], c.ee.Config[cfgKeyConfig+28:cfgKeyConfig+30]) // slot 13 as 14
		c.ee.Config[cfgKeyConfig+28] |= 0x20                                              // which can be locked
		for _, n := range []int{13, 14, 15} {
			copy(c.ee.Slot(n), unhex(t, "00000000"+keyX+"00000000"+keyY))
		}
		return c
	}
	c := setUp()
	sn := c.State().Serial()
	temp := sumOf(zeros[:32], []byte{opGenKey, 0, 0, 0}, sn[8:], sn[:2], zeros[:25], unhex(t, keyX+keyY))
	sig := signWith(t, c, sumOf(temp, []byte{opSign}, other[:10], sn[8:], other[10:14], sn[:2], other[14:]))
	digested := func(c *Chip, slot uint16) {
		wantStatus(t, c, StatusOK, opNonce, 3, 0, zeros[:32])
		wantStatus(t, c, StatusOK, opGenKey, 0x10, slot, zeros[:3])
	}
	for _, tt := range []struct {
		name string
		take func(c *Chip)
		want Status
	}{
		{"nothing", func(c *Chip) { digested(c, 14) }, StatusOK},
		{"TempKey", func(*Chip) {}, StatusExec},
		{"the digest", func(c *Chip) { wantStatus(t, c, StatusOK, opNonce, 3, 0, temp) }, StatusExec},
		{"the command of the digest", func(c *Chip) {
			wantStatus(t, c, StatusOK, opNonce, 3, 0, zeros[:32])
			wantStatus(t, c, StatusOK, opGenDig, genDigShared, 14, zeros[:32])
		}, StatusExec},
		{"the slot of the digest", func(c *Chip) { digested(c, 13) }, StatusExec},
		{"the lock", func(c *Chip) { digested(c, 14); wantStatus(t, c, StatusOK, opLock, 0x02|14<<2, 0) }, StatusExec},
		{"the kind of slot", func(c *Chip) { digested(c, 14); c.ee.Config[cfgKeyConfig+28] &^= 2 }, StatusExec},
		{"the other key", func(c *Chip) { digested(c, 14); clear(c.ee.Slot(15)) }, StatusExec},
		{"the signature", func(c *Chip) {
			digested(c, 14)
			copy(c.ee.Slot(15)[4:], xyOf(t, 1)[:32])
			copy(c.ee.Slot(15)[40:], xyOf(t, 1)[32:])
		}, StatusMiscompare},
	} {
		c := setUp()
		tt.take(c)
		wantStatus(t, c, tt.want, opVerify, verifyValidate, 14, sig, other)
		if valid := c.ee.Slot(14)[0] == nibbleValid; valid != (tt.want == StatusOK) {
			t.Errorf("without %s: valid is %t", tt.name, valid)
		}
	}
}

// xyOf is the public key of a small scalar.
func xyOf(t *testing.T, scalar byte) []byte {
	t.Helper()
	k, err := ecdh.P256().NewPrivateKey(append(make([]byte, 31), scalar))
	if err != nil {
		t.Fatal(err)
	}
	return xy(k.PublicKey())
}

// TestSealedWrites sends an encrypted write where a slot or a lock phase does not
// take one, with everything else in order.
func TestSealedWrites(t *testing.T) {
	data := bytes.Repeat([]byte{0xA5}, 32)
	write := func(c *Chip, p1 byte, slot uint16) (data2 [][]byte) {
		nonceT0(t, c)
		wantStatus(t, c, StatusOK, opGenDig, 2, slot)
		temp := c.vol.temp.low()
		mac := c.mix(temp, []byte{opWrite, p1, byte(8 << 3), 0}, data)
		return [][]byte{xor(data, temp), mac[:]}
	}
	for _, tt := range []struct {
		name string
		set  func(c *Chip)
		p1   byte
		want Status
	}{
		{"locked, as the slot wants it", nil, 0xC2, StatusOK},
		{"locked, without bit 6", nil, 0x82, StatusOK},
		{"unlocked", func(c *Chip) { c.ee.Config[cfgLockData] = unlocked }, 0xC2, StatusOK},
		{"unlocked, without bit 6", func(c *Chip) { c.ee.Config[cfgLockData] = unlocked }, 0x82, StatusExec},
		{"into a slot for clear writes", func(c *Chip) { c.ee.Config[cfgSlotConfig+17] &= 0x0F }, 0xC2, StatusExec},
		{"into a slot for no writes", func(c *Chip) { c.ee.Config[cfgSlotConfig+17] = 0x84 }, 0xC2, StatusExec},
		{"under another key", func(c *Chip) { c.ee.Config[cfgSlotConfig+17] = 0x49 }, 0xC2, StatusExec},
	} {
		c := vectorChip(t)
		if tt.set != nil {
			tt.set(c)
		}
		before := bytes.Clone(c.ee.Slot(8)[:32])
		wantStatus(t, c, tt.want, opWrite, tt.p1, 8<<3, write(c, tt.p1, 4)...)
		if got := c.ee.Slot(8)[:32]; tt.want == StatusOK != bytes.Equal(got, data) || tt.want != StatusOK && !bytes.Equal(got, before) {
			t.Errorf("%s: slot 8 is %x", tt.name, got)
		}
	}
}

// TestRandomFirst signs after each command that runs the generator.
func TestRandomFirst(t *testing.T) {
	for _, first := range []struct {
		op, p1 byte
		p2     uint16
		data   []byte
	}{{opRandom, 0, 0, nil}, {opNonce, 0, 0, zeros[:20]}, {opGenKey, 4, slotTempKey, nil}} {
		c := vectorChip(t)
		c.opts.Open.RandomFirst = true
		c.ee.Config[cfgKeyConfig+4] |= 0x40
		wantStatus(t, c, StatusOK, opNonce, 0x43, 0, zeros[:32])
		wantStatus(t, c, StatusExec, opSign, 0xA0, 2)
		wantStatus(t, c, StatusOK, first.op, first.p1, first.p2, first.data)
		send(t, c, "02")
		wakeUp(t, c)
		wantStatus(t, c, StatusOK, opSign, 0xA0, 2)
		send(t, c, "01")
		wakeUp(t, c)
		wantStatus(t, c, StatusOK, opNonce, 0x43, 0, zeros[:32])
		wantStatus(t, c, StatusExec, opSign, 0xA0, 2)
	}
}

// TestPublicKeyNeedsALargeSlot: the first eight slots are too small for one.
func TestPublicKeyNeedsALargeSlot(t *testing.T) {
	c := vectorChip(t)
	c.ee.Config[cfgKeyConfig+6], c.ee.Config[cfgKeyConfig+7] = 0x30, 0 // slot 3
	nonceT0(t, c)
	wantStatus(t, c, StatusExec, opGenKey, 0x10, 3, zeros[:3])
	wantStatus(t, c, StatusExec, opVerify, 0, 3, zeros[:])
	wantData(t, c, "00000000", opInfo, 1, 3)
}

// TestShortNonceReplacesLong: 32 bytes in the message buffer leave no other 32.
func TestShortNonceReplacesLong(t *testing.T) {
	c := vectorChip(t)
	wantStatus(t, c, StatusOK, opNonce, 0x63, 0, count32())
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, zeros[:32])
	if !bytes.Equal(c.vol.msg[:], zeros[:]) {
		t.Errorf("message buffer is %x", c.vol.msg)
	}
	wantStatus(t, c, StatusExec, opVerify, 0xA2, 4, zeros[:], unhex(t, keyX+keyY)) // no system nonce
	wantStatus(t, c, StatusOK, opNonce, 0x23, 0, count32())
	wantStatus(t, c, StatusOK, opNonce, 0x03, 0, zeros[:32])
	wantStatus(t, c, StatusExec, opAES, 0x80, slotTempKey, zeros[:16])
}

// TestKeyValid is what Info says of slots.
func TestKeyValid(t *testing.T) {
	c := vectorChip(t)
	key := unhex(t, "00000000"+keyX+"00000000"+keyY)
	for _, n := range []int{11, 14} {
		copy(c.ee.Slot(n), key)
	}
	want := func(slot uint16, valid byte) {
		t.Helper()
		wantData(t, c, hexOf([]byte{valid, 0, 0, 0}), opInfo, 1, slot)
	}
	want(0, 1)
	want(4, 0) // a secret is no key of the curve
	want(11, 1)
	want(14, 0) // not validated
	c.putNibble(14, nibbleValid)
	want(14, 1)
	c.putNibble(14, nibbleInvalid)
	want(14, 0)
	c.ee.Slot(11)[10] ^= 1 // not on the curve
	want(11, 0)
	clear(c.ee.Slot(0))
	want(0, 0)
}

// TestLastUse: a counter that is full allows no more uses, with no limit in a slot.
func TestLastUse(t *testing.T) {
	c := vectorChip(t)
	c.ee.Config[cfgCountMatch] = 0
	c.setCounter(0, counterMax-1)
	for _, want := range []Status{StatusOK, StatusExec, StatusExec} {
		wantStatus(t, c, StatusOK, opNonce, 0x43, 0, zeros[:32])
		wantStatus(t, c, want, opSign, 0xA0, 0)
		wantData(t, c, "ffff1f00", opCounter, 0, 0)
	}
}

// TestImpossibleStates are refused.
func TestImpossibleStates(t *testing.T) {
	for name, change := range map[string]func(*[ConfigSize]byte){
		"serial number":                       func(c *[ConfigSize]byte) { c[1] = 0x24 },
		"data locked, configuration unlocked": func(c *[ConfigSize]byte) { c[cfgLockData] = 0 },
	} {
		config := Blank(DefaultSerial).Config
		change(&config)
		if _, err := Configured(config); err == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
	if _, err := New(nil, nil); err == nil {
		t.Error("no state was accepted")
	}
	for _, opts := range []Options{{Timing: Timing{Min: 2, Max: 1}}, {Timing: Timing{Min: -1}}, {Speed: -1}} {
		if _, err := New(Blank(DefaultSerial), &opts); err == nil {
			t.Errorf("%+v was accepted", opts)
		}
	}
}
