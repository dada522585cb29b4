package ateccsim

import (
	"bytes"
	"testing"
)

const (
	keyK = "3780e63d4968ade5d822c013fcc323845d1b569fe705b60006feec145a0db1e3"
	keyD = "878F0AB6A526D7111C26E6170810796E7B33007F832B8D64467ED6F870537A19"
	keyX = "8f8d182bd819048582a9927ea0c56defb4159548e11ca5f7abac45bbce76815b"
	keyY = "e5c64fcd2fd12698544de037951726666073046119ad5e11a90aa49773aeac86"
	t0   = "6a0cc62f189b55dd2fec171472906ab01827e8092f308a133da926b1ef3ee6fa"
	g4   = "3fa6798cf2525784aebf8d7d11d712f35a1ebae55ba7b8217627df2fc7edb8b3"
)

func count32() []byte {
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// vectorChip is awake and provisioned, draws 00 to 1f as its random numbers, has
// K in slot 4 and d in slots 0, 2 and 7, and OTP as shipped.
func vectorChip(t testing.TB) *Chip {
	t.Helper()
	s := must(t)(Everything(DefaultSerial, nil))
	copy(s.Slot(4), unhex(t, keyK))
	for _, n := range []int{0, 2, 7} {
		copy(s.Slot(n)[4:], unhex(t, keyD))
	}
	c := newChip(t, s, nil)
	c.opts.Random = bytes.NewReader(bytes.Repeat(count32()[:32], 8))
	wakeUp(t, c)
	return c
}

// nonceT0 makes TempKey T0.
func nonceT0(t testing.TB, c *Chip) {
	t.Helper()
	wantData(t, c, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", opNonce, 0, 0, zeros[:20])
	wantTemp(t, c, t0)
}

func wantTemp(t testing.TB, c *Chip, want string) {
	t.Helper()
	if !c.vol.temp.valid || !bytes.Equal(c.vol.temp.low(), unhex(t, want)) {
		t.Fatalf("TempKey is %x (valid %t), want %s", c.vol.temp.low(), c.vol.temp.valid, want)
	}
}

func TestFrames(t *testing.T) {
	for _, f := range []string{
		"07 30 00 00 00 03 5d", "07 30 02 00 00 00 d8", "07 1b 00 00 00 24 cd", "07 02 80 00 00 09 ad",
		"07 02 00 04 00 1d 6d", "07 02 00 15 00 17 5d", "07 02 82 40 01 0a 27",
		"0b 12 00 04 00 c0 00 00 00 86 73", "07 17 80 00 00 39 8d", "07 17 81 00 00 3a 07",
		"07 17 36 00 00 5e 0a", "07 40 04 00 00 83 87", "07 40 00 00 00 00 05", "07 40 04 ff ff 8e 07",
		"27 16 43 00 00 " + hexZeros(32) + "14 3a", "07 41 80 00 00 28 05", "07 41 a0 00 00 7b 85",
		"07 24 00 00 00 0c fd", "07 24 01 01 00 06 f7", "07 77 3b 00 00 9d fb", "07 47 00 00 00 2e 85",
		"07 20 00 00 00 00 7d",
		"04 00 03 40", "04 01 00 c3", "04 03 83 42", "04 05 c3 43", "04 07 40 c2", "04 08 60 c0", "04 0f 23 42",
		"04 11 33 43", "04 ee 31 41", "04 ff 01 42", "07 00 00 60 03 83 bb", "07 00 00 60 02 80 38",
		"23 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 70 fa",
	} {
		if b := unhex(t, f); !checkCRC(b) {
			t.Errorf("CRC of %s is computed as %04x", f, crc(b[:len(b)-2]))
		}
	}
	if got := answer(nil, byte(StatusExec)); !bytes.Equal(got, unhex(t, "04 0f 23 42")) {
		t.Errorf("answer is % x", got)
	}
}

func hexZeros(n int) string {
	b := make([]byte, 0, 2*n)
	for range 2 * n {
		b = append(b, '0')
	}
	return string(b)
}

func TestZoneCRC(t *testing.T) {
	blank, generic := Blank(DefaultSerial), newState(DefaultSerial, configGeneric)
	everything := newState(DefaultSerial, configEverything)
	copy(everything.Config[:], unhex(t, "01 23 00 00 00 00 60 00 04 05 06 07 EE 01 01 00"))
	listed := *everything
	listed.Config[cfgLockData], listed.Config[cfgLockConfig] = 0, 0
	for _, tt := range []struct {
		name string
		got  uint16
		want uint16 // the bytes on the wire, low first
	}{
		{"1208 bytes FF", crc(blank.Data[:]), 0x79ba},
		{"1272 bytes FF", crc(blank.Data[:], blank.OTP[:]), 0xdff1},
		{"configuration as shipped", crc(blank.Config[:]), 0xbe61},
		{"generic configuration", crc(generic.Config[:]), 0xf231},
		{"every policy", crc(everything.Config[:]), 0x06b7},
		{"every policy, locked", crc(listed.Config[:]), 0xa437},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %04x, want %04x", tt.name, tt.got, tt.want)
		}
	}
}

func TestCounterEncoding(t *testing.T) {
	for v, want := range map[uint32]string{
		0: "ffff ffff 0000 0000", 1: "7fff ffff 0000 0000", 15: "0001 ffff 0000 0000", 16: "0000 ffff 0000 0000",
		31: "0000 0001 0000 0000", 32: "ffff 0000 0001 0000", 48: "0000 ffff 0001 0001", 1000: "00ff 0000 001f 001e",
		1026: "3fff 0000 0020 001f", 1048575: "0000 0001 7fff 7fff", 2097151: "0000 0001 ffff ffff",
	} {
		if b := encodeCounter(v); !bytes.Equal(b[:], unhex(t, want)) {
			t.Errorf("%d is %x, want %s", v, b, want)
		}
	}
	for v := range uint32(counterMax + 1) {
		if b := encodeCounter(v); decodeCounter(b[:]) != v {
			t.Fatalf("%d is %x, which reads %d", v, b, decodeCounter(b[:]))
		}
	}
}

func TestDigests(t *testing.T) {
	fives := bytes.Repeat([]byte{0x55}, 32)
	t.Run("Nonce without seed update", func(t *testing.T) {
		c := vectorChip(t)
		wantStatus(t, c, StatusOK, opNonce, 1, 0, zeros[:20])
		wantTemp(t, c, "12fe00a5be3945fcd1a61cbda9aa62249d40741fbee045541f05694d1b79e2b5")
	})
	for _, tt := range []struct {
		name string
		p1   byte
		p2   uint16
		data []byte
		want string
	}{
		{"slot 4", 2, 4, nil, g4},
		{"slot 4 with OtherData", 2, 4, []byte{0x15, 2, 4, 0}, g4},
		{"OTP", 1, 0, nil, "5300cb4f5c51f2b12db2c5f5a9741eda99a2e29dad8ad317b0441378c31303fd"},
		{"shared nonce", 3, 0, fives, "bb3b3123c2d9c7f26bbab6250c656e60c039c93fd1e516595dd010d1a1e470c9"},
		{"shared nonce exchanged", 3, 0x8000, fives, "c30718929361cde73f612a578ef591abf47e8bd48edaa05ece321284b8e93773"},
		{"counter 5", 4, 0, nil, "c7e7136cfc1e5ca179f7f834a82c705c5b505ed7f986fb6d474fc0cf4cacc126"},
		{"key configuration", 5, 4, nil, "80316bb126cfee3c5a70ad33fb610b5f1d0285ba618f50d5baae4c833e4e44c2"},
	} {
		t.Run("GenDig "+tt.name, func(t *testing.T) {
			c := vectorChip(t)
			c.setCounter(0, 5)
			nonceT0(t, c)
			wantStatus(t, c, StatusOK, opGenDig, tt.p1, tt.p2, tt.data)
			wantTemp(t, c, tt.want)
		})
	}
	t.Run("encrypted Write", func(t *testing.T) {
		c := vectorChip(t)
		nonceT0(t, c)
		wantStatus(t, c, StatusOK, opGenDig, 2, 4)
		send(t, c, "03 47 12 c2 40 05 9a03dc2957f7f2210b1a28d8b472b756ffbb1f40fe021d84d3827a8a62481d16 34efcc9a5fb84a625827f64fd64fa15bc2f7d81e326a0aaac30f87fdb09ea9a9 49 61")
		read(t, c, "04 00 03 40")
		if got := c.ee.Slot(8)[160:192]; !bytes.Equal(got, bytes.Repeat([]byte{0xA5}, 32)) {
			t.Errorf("slot 8 block 5 is %x", got)
		}
		if c.vol.temp.valid {
			t.Error("TempKey is still valid")
		}
	})
	t.Run("PrivWrite", func(t *testing.T) {
		c := vectorChip(t)
		clear(c.ee.Slot(7))
		nonceT0(t, c)
		wantStatus(t, c, StatusOK, opGenDig, 2, 4)
		send(t, c, "03 4b 46 40 07 00 3fa6798c75dd5d320b995a6c0df1f4e4520ec38b2094b85ef50c524b81936e4b760d444f 6601139f28f600f0df3f1bd427bea6e73e8c9f38b041f60dc2a530d04bede0dd e5 b1")
		read(t, c, "04 00 03 40")
		wantData(t, c, keyX+keyY, opGenKey, 0, 7)
	})
	t.Run("MAC and CheckMac", func(t *testing.T) {
		c := vectorChip(t)
		want := "df1994c6223ac5e0bdc7ffc7d3db653048ade8b1940f0938ccea075885476e95"
		wantData(t, c, want, opMAC, 0, 4, fives)
		wantData(t, c, "965bfa07d43485a9f849c6dc0caf87dbee509c97056c2c7f965a8676129fe90c", opMAC, 0x40, 4, fives)
		other := append([]byte{8, 0, 4, 0}, zeros[:9]...)
		wantStatus(t, c, StatusOK, opCheckMac, 0, 4, fives, unhex(t, want), other)
		wantData(t, c, "00 24 00 00", opInfo, 2, 0)
		wantStatus(t, c, StatusMiscompare, opCheckMac, 0, 4, fives, fives, other)
		wantData(t, c, "00 00 00 00", opInfo, 2, 0)
	})
	t.Run("DeriveKey roll", func(t *testing.T) {
		c := vectorChip(t)
		copy(c.ee.Slot(9), unhex(t, "55e1e19753f8ee0b204b9709fdd0f0f975146021cc5f967da1e130feedb0fe87"))
		nonceT0(t, c)
		wantStatus(t, c, StatusOK, opDeriveKey, 0, 9)
		if got := c.ee.Slot(9)[:32]; !bytes.Equal(got, unhex(t, "dc9e0c6aa23ff4f8687d2202919de4ce6ce2e3770ea6d5faf959a93c112b4dfe")) {
			t.Errorf("key is %x", got)
		}
	})
	t.Run("DeriveKey create", func(t *testing.T) {
		c := vectorChip(t)
		nonceT0(t, c)
		wantStatus(t, c, StatusExec, opDeriveKey, 0, 3)
		wantStatus(t, c, StatusExec, opDeriveKey, 0, 3, zeros[:32])
		wantStatus(t, c, StatusOK, opDeriveKey, 0, 3, unhex(t, "21e21b6e8f6257a74e450153b3ec5ec545b37162cb448bbec116792757373ddf"))
		if got := c.ee.Slot(3)[:32]; !bytes.Equal(got, unhex(t, "452072b591b70b70cb97254e6fab1dcd706260623b259f19d64f08013aa037a9")) {
			t.Errorf("key is %x", got)
		}
	})
	t.Run("Sign internal", func(t *testing.T) {
		c := vectorChip(t)
		nonceT0(t, c)
		c.vol.temp.genDig, c.vol.temp.keyID = true, 4
		m := c.internalMessage(&request{op: opSign, p1: 0x40})
		if !bytes.Equal(m, unhex(t, t0+"41 40 0000 8f0f 3c00 24 0000 ee 05b7c470 0123 eaa2 01 00 00")) {
			t.Errorf("message is %x", m)
		}
		if d := digest(m); !bytes.Equal(d[:], unhex(t, "5e8f7736e2acdf6085781b1bc3d906de1c859cc7b570f434f9b337909c871788")) {
			t.Errorf("digest is %x", d)
		}
		sig := wantStatus(t, c, StatusOK, opSign, 0x40, 0)
		if ok, err := verify(unhex(t, keyX+keyY), digestOf(m), sig); !ok || err != nil {
			t.Errorf("signature does not verify: %v", err)
		}
	})
	t.Run("Verify MAC", func(t *testing.T) {
		c := vectorChip(t)
		wantStatus(t, c, StatusOK, opNonce, 0x63, 0, bytes.Repeat([]byte{0x11}, 32), bytes.Repeat([]byte{0x22}, 32))
		q := &request{op: opVerify, p1: 0xA2, p2: 4}
		tag, s := c.verifyMAC(q, c.vol.msg[:32], count32())
		if s != StatusOK || !bytes.Equal(tag, unhex(t, "8ac29f6cfde084a0e8f658c60b218be1095f01d4aec7d7bb3cf69d2cea114eb1")) {
			t.Errorf("MAC is %x, %v", tag, s)
		}
	})
	t.Run("encrypted output", func(t *testing.T) {
		c := vectorChip(t)
		pad, s := c.protect(zeros[:64])
		want := "817608608bd3cafe26c9de69fd9173ce9dc6a299ae3429d49727ba6613ca2886" +
			"a7029306696b3890a36ee2be796a818ac05bdf75a081b6acb8d956cfd1fa6cce" +
			"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
		if s != StatusOK || !bytes.Equal(pad, unhex(t, want)) {
			t.Errorf("pad is %x, %v", pad, s)
		}
	})
}

func digestOf(b []byte) []byte {
	d := digest(b)
	return d[:]
}

// TestSecureBootVectors gives a signature that the chip takes for good, since
// the vectors' is none.
func TestSecureBootVectors(t *testing.T) {
	c := vectorChip(t)
	nonceT0(t, c)
	key := digest(unhex(t, keyK), c.vol.temp.low())
	if !bytes.Equal(key[:], unhex(t, "ba632ec78ff9e7136a3e19d3d2aa7b29fa5848258fd20d90f107329cf79ce745")) {
		t.Fatalf("key is %x", key)
	}
	sum := bytes.Repeat([]byte{0x33}, 32)
	sealed := unhex(t, "89501df4bccad420590d2ae0e199481ac96b7b16bce13ea3c23401afc4afd476")
	if !bytes.Equal(xor(sum, key[:]), sealed) {
		t.Fatalf("encrypted digest is %x", xor(sum, key[:]))
	}
	mac := digest(key[:], sum, count32(), []byte{opSecureBoot, 0x87, 0, 0})
	if !bytes.Equal(mac[:], unhex(t, "83b167f2302257acf5b5759ad80415c7e97469114a23a445880cff804c5eb3fd")) {
		t.Errorf("MAC is %x", mac)
	}
	// The stored digest, over the wire.
	copy(c.ee.Slot(12), sum)
	wantData(t, c, "365532ecbf7ed2cba5d1811355bfaa395fe029888fe4e2fa840d4bac5b87c872", opSecureBoot, 0x86, 0, sealed)
	nonceT0(t, c)
	sealed[0] ^= 1
	wantStatus(t, c, StatusMiscompare, opSecureBoot, 0x86, 0, sealed)
}

func TestValidateVectors(t *testing.T) {
	c := vectorChip(t)
	for _, n := range []int{14, 15} {
		copy(c.ee.Slot(n), unhex(t, "00000000"+keyX+"00000000"+keyY))
	}
	wantStatus(t, c, StatusOK, opNonce, 3, 0, zeros[:32])
	wantStatus(t, c, StatusOK, opGenKey, 0x10, 14, zeros[:3])
	wantTemp(t, c, "9102f19eb5c365ba22a34046538f63b107d271f8e49c3ebcfa3360fcbf72790b")
	if f := c.vol.temp.flags(); f != 0x5E {
		t.Fatalf("flags are %02x, want 5e", f)
	}
	// p1, p2, SlotConfig, KeyConfig (0000 as the host takes them), flags, 00 00;
	// SN47, SN23, unlocked, invalidate, 00.
	other := unhex(t, "00 0000 0000 0000 5e 0000 00000000 0000 01 00 00")
	sum := digest(c.vol.temp.low(), []byte{opSign}, other[:10], c.sn8(), other[10:14], c.sn01(), other[14:])
	if !bytes.Equal(sum[:], unhex(t, "0669330d37cf18a20169999e1e1d1c577fe884f88f1c349cd0c4d5d91117a9d9")) {
		t.Fatalf("digest is %x", sum)
	}
	sig := signWith(t, c, sum[:])
	wantStatus(t, c, StatusOK, opNonce, 3, 0, zeros[:32])
	wantStatus(t, c, StatusOK, opGenKey, 0x10, 14, zeros[:3])
	wantStatus(t, c, StatusOK, opVerify, 3, 14, sig, other)
	if b := c.ee.Slot(14)[0]; b != 0x50 {
		t.Fatalf("validity is %02x", b)
	}
	// Now it verifies, until it is written again.
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, sum[:])
	wantStatus(t, c, StatusOK, opVerify, 0x20, 14, sig)
	wantStatus(t, c, StatusOK, opWrite, 0x82, 14<<3, c.ee.Slot(15)[:32]) // the same key
	if b := c.ee.Slot(14)[0]; b != 0xA0 {
		t.Fatalf("validity after a write is %02x", b)
	}
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, sum[:])
	wantStatus(t, c, StatusExec, opVerify, 0x20, 14, sig)
}

// signWith signs a digest with the key of slot 2.
func signWith(t testing.TB, c *Chip, sum []byte) []byte {
	t.Helper()
	wantStatus(t, c, StatusOK, opNonce, 0x43, 0, sum)
	return wantStatus(t, c, StatusOK, opSign, 0xA0, 2)
}

func TestECDHVector(t *testing.T) {
	twoG := unhex(t, "7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc4766997807775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1")
	want := "8287d45c1a60959343b9a545a2e83d239d47b96ebc882a280105d48bf475c841"
	c := vectorChip(t)
	wantData(t, c, want, opECDH, 0x0C, 2, twoG)
	wantStatus(t, c, StatusOK, opECDH, 0, 0, twoG) // compatibility: into slot 1
	if !bytes.Equal(c.ee.Slot(1)[:32], unhex(t, want)) {
		t.Errorf("slot 1 is %x", c.ee.Slot(1))
	}
	wantStatus(t, c, StatusOK, opECDH, 0x08, 2, twoG)
	wantTemp(t, c, want)
	enc := wantStatus(t, c, StatusOK, opECDH, 0x0E, 2, twoG)
	pad := digest(unhex(t, keyK), enc[32:48])
	if !bytes.Equal(xor(enc[:32], pad[:]), unhex(t, want)) {
		t.Errorf("encrypted output %x", enc)
	}
	wantStatus(t, c, StatusExec, opECDH, 0x0C, 2, zeros[:])
	wantStatus(t, c, StatusParse, opECDH, 0x02, 2, twoG)
	wantStatus(t, c, StatusExec, opECDH, 0x0D, 0, twoG)
	wantStatus(t, c, StatusOK, opGenKey, 4, slotTempKey)
	wantStatus(t, c, StatusExec, opSign, 0x80, 2) // a private key is no message
	wantStatus(t, c, StatusOK, opECDH, 0x0D, 0, twoG)
	wantStatus(t, c, StatusExec, opECDH, 0x0D, 0, twoG) // it was for once
}

func TestSHAVectors(t *testing.T) {
	bc := bytes.Repeat([]byte{0xBC}, 64)
	for _, tt := range []struct {
		n    int
		want string
	}{
		{64, "1A3AA545049453AFDF17E989A41FA09794A51BD5DB91363767550C0F0AF327D4"},
		{127, "A92218564370A057273FF485A8073F32FC1F1412ECA2E30B81A887760B613172"},
		{10, "303ff8ba40a206e7a950021ef51066d4a0015475323ee9f24ac8c963298f34ce"},
	} {
		c := vectorChip(t)
		wantStatus(t, c, StatusOK, opSHA, shaStart, 0)
		if tt.n >= 64 {
			wantStatus(t, c, StatusOK, opSHA, shaUpdate, 64, bc)
		}
		rest := bc[:tt.n%64]
		wantData(t, c, tt.want, opSHA, 0xC2, uint16(len(rest)), rest)
		wantStatus(t, c, StatusExec, opSHA, 0xC2, 0)
	}
	c := vectorChip(t)
	msg := unhex(t, "6fb3ec66f9eb070a719bebbe708b93a65b201b78e2d26d8cccdf1c33f741904a9ade640fce000c334d04bb30795683dca09dbf3e7e32aea103d760e857a6d6211c")
	wantStatus(t, c, StatusOK, opSHA, shaHMACStart, 4)
	wantStatus(t, c, StatusOK, opSHA, shaUpdate, 64, msg[:64])
	wantStatus(t, c, StatusExec, opSHA, shaRead, 0)
	wantData(t, c, "297f22b8d251b063a7c08dcf4dba0d1fb35d32a3baab15aceaf4391c4adb3277", opSHA, 0xC2, 1, msg[64:])

	// The public key of a slot goes into a digest.
	copy(c.ee.Slot(11), unhex(t, "00000000"+keyX+"00000000"+keyY))
	wantStatus(t, c, StatusOK, opSHA, shaStart, 0)
	wantStatus(t, c, StatusOK, opSHA, shaPublic, 11)
	wantStatus(t, c, StatusExec, opSHA, shaPublic, 8) // no public key
	wantData(t, c, hexOf(sumOf(unhex(t, keyX+keyY), msg[:3])), opSHA, 0x42, 3, msg[:3])
	if want := sumOf(unhex(t, keyX+keyY), msg[:3]); c.vol.msgLen != 32 || !bytes.Equal(c.vol.msg[:32], want) {
		t.Errorf("message buffer is %x, want %x", c.vol.msg, want)
	}

	// A context goes out and comes back.
	wantStatus(t, c, StatusOK, opSHA, shaStart, 0)
	wantStatus(t, c, StatusOK, opSHA, shaUpdate, 64, bc)
	wantStatus(t, c, StatusOK, opSHA, shaUpdate, 50, bc[:50])
	ctx := wantStatus(t, c, StatusOK, opSHA, shaRead, 0)
	if len(ctx) != 90 || ctx[0]&0x3F != 50 {
		t.Fatalf("context is %x", ctx)
	}
	wantStatus(t, c, StatusOK, opSHA, shaStart, 0)
	wantStatus(t, c, StatusOK, opSHA, shaWrite, 90, ctx)
	wantData(t, c, "A92218564370A057273FF485A8073F32FC1F1412ECA2E30B81A887760B613172", opSHA, 0xC2, 13, bc[:13])
}

func TestAESVectors(t *testing.T) {
	plain := unhex(t, "6bc1bee22e409f96e93d7e117393172a")
	keys := unhex(t, "2B7E151628AED2A6ABF7158809CF4F3C 6BE163D42B623E70D164FA145DB1D463 7058710B58E1E665D3D2F5B465176403 114443FA8E9614845EC7296CD13BC9DC")
	c := vectorChip(t)
	copy(c.ee.Slot(10), keys)
	wantStatus(t, c, StatusOK, opNonce, 0x23, 0, keys)
	for i, want := range []string{
		"3AD77BB40D7A3660A89ECAF32466EF97", "535A0D67777A96AF77983003A6DF855A",
		"2861A0FA3925E2025E41DCDE53DF7CA7", "B124D63C41D85BFD2EB4A4A8F44502B9",
	} {
		for _, slot := range []uint16{10, slotTempKey} {
			wantData(t, c, want, opAES, byte(i<<6), slot, plain)
			wantData(t, c, "6bc1bee22e409f96e93d7e117393172a", opAES, byte(i<<6|1), slot, unhex(t, want))
		}
	}
	wantData(t, c, "5E2EC746917062882C85B0685353DEB7", opAES, 3, 0, unhex(t, "66E94BD4EF8A2C3B884CFA59CA342B2E 0388DACE60B6A392F328C2B971B2FE78"))
	wantStatus(t, c, StatusExec, opAES, 0, 4, plain) // no AES key
	wantStatus(t, c, StatusExec, opAES, 0, 5, plain) // needs the latch
	c.ee.Config[cfgAES] &^= 1
	wantStatus(t, c, StatusParse, opAES, 0, 10, plain)
}

func TestKDFVectors(t *testing.T) {
	msg := count32()[:16]
	key := append(append([]byte{}, msg...), msg...)
	prf := "1ebcbe62005ab948fdffe1c402aaba354ec676050c9bc1aae1ff5b1509a4a04a44254664c2a480f5b77ea2d1020c7ba4b3640c4ac793324c26d6fddfdb1f011a"
	hkdf := "495d46aa392d51132edb93bc49e60ecaaeb7802f3ae529779d5883f9330af561"
	aes := "0a940bb5416ef045f1c39458c653ea5a" + hexZeros(16)
	c := vectorChip(t)
	wantStatus(t, c, StatusOK, opNonce, 0x03, 0, key)
	wantStatus(t, c, StatusOK, opNonce, 0x83, 0, key)
	for _, source := range []byte{kdfTemp, kdfAlt} {
		out := source | kdfOutput<<2
		wantData(t, c, prf, opKDF, out, 0x1234, []byte{1, 1, 0, 16}, msg)
		wantData(t, c, aes, opKDF, out|0x20, 0x1234, []byte{0, 0, 0, 0}, msg)
		wantData(t, c, hkdf, opKDF, out|0x40, 0x1234, []byte{2, 0, 0, 16}, msg)
	}
	enc := wantStatus(t, c, StatusOK, opKDF, kdfAlt|kdfEncrypted<<2, 0, []byte{1, 1, 0, 16}, msg)
	for i := 0; i < 64; i += 32 {
		pad := digest(unhex(t, keyK), enc[64+i/2:64+i/2+16])
		copy(enc[i:], xor(enc[i:i+32], pad[:]))
	}
	if len(enc) != 96 || !bytes.Equal(enc[:64], unhex(t, prf)) {
		t.Errorf("encrypted output %x", enc)
	}
	iv := unhex(t, "00010203040506070869760b0c0d0e0f 000102030405060708090a0b0c0d0e0f")
	wantStatus(t, c, StatusOK, opKDF, kdfAlt|kdfOutput<<2|0x40, 0, []byte{3, 0, 0, 32}, iv)
	iv[9]++
	wantStatus(t, c, StatusExec, opKDF, kdfAlt|kdfOutput<<2|0x40, 0, []byte{3, 0, 0, 32}, iv)
	wantStatus(t, c, StatusParse, opKDF, kdfAlt|kdfOutput<<2, 0, []byte{1, 3, 0, 16}, msg)
	wantStatus(t, c, StatusOK, opKDF, kdfAlt|kdfTempUpper<<2|0x40, 0, []byte{2, 0, 0, 16}, msg)
	if !bytes.Equal(c.vol.temp.value[32:], unhex(t, hkdf)) {
		t.Errorf("upper half of TempKey is %x", c.vol.temp.value[32:])
	}
}
