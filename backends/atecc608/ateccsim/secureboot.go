package ateccsim

import "crypto/subtle"

const (
	bootFull      = 5
	bootFullStore = 6
	bootFullCopy  = 7

	bootOff     = 0
	bootFullSig = 2 // the signature is stored
	bootFullDig = 3 // the digest is stored

	bootProhibit = 0x40
	bootWithMAC  = 0x80
)

func (c *Chip) cmdSecureBoot(q *request) ([]byte, Status) {
	op, size := q.p1&7, 32+64
	if op == bootFullStore {
		size = 32
	}
	if q.p1&^(bootProhibit|bootWithMAC|7) != 0 || op < bootFull || q.p2 != 0 || len(q.data) != size {
		return nil, StatusParse
	}
	cfg, t := c.ee.secureBoot(), &c.vol.temp
	stores := cfg.mode() == bootFullSig || cfg.mode() == bootFullDig
	if !c.ee.DataLocked() || cfg.mode() == bootOff || c.noBoot || op != bootFull && !stores {
		return nil, StatusExec
	}
	if cfg.randNonce() && (!t.usable() || t.fixed) {
		return nil, StatusExec
	}
	sum, sig := q.data[:32], q.data[32:]
	var key [32]byte
	if q.p1&bootWithMAC != 0 {
		io, s := c.ioKey()
		if s != StatusOK {
			return nil, s
		}
		if !t.usable() {
			return nil, StatusExec
		}
		key = digest(io, t.low())
		c.spendTempKey()
		sum = xor(sum, key[:])
	}
	place := c.ee.Slot(cfg.digestSlot())
	if stores && (c.ee.keyConfig(cfg.digestSlot()).private() || cfg.mode() == bootFullSig && len(place) < 64) {
		return nil, StatusExec
	}
	if op == bootFullStore && cfg.mode() == bootFullSig {
		sig = place[:64]
	}
	ok, s := c.bootCheck(cfg, sum, sig, place)
	if s != StatusOK {
		return nil, s
	}
	if !ok {
		return nil, StatusMiscompare
	}
	if op == bootFullCopy {
		stored := sum
		if cfg.mode() == bootFullSig {
			stored = sig
		}
		c.putSlot(cfg.digestSlot(), 0, stored)
	}
	c.latch = c.latch || cfg.latch() && !c.opts.Open.BootKeepsLatch
	c.noBoot = c.noBoot || q.p1&bootProhibit != 0
	if q.p1&bootWithMAC != 0 {
		mac := digest(key[:], sum, sig, q.head())
		return mac[:], StatusOK
	}
	return nil, StatusOK
}

// bootCheck verifies the signature, or compares the digest if there is none.
func (c *Chip) bootCheck(cfg secureBoot, sum, sig, place []byte) (bool, Status) {
	if len(sig) == 0 {
		return subtle.ConstantTimeCompare(sum, place[:32]) == 1, StatusOK
	}
	key, s := c.storedKey(cfg.keySlot())
	if s != StatusOK {
		return false, s
	}
	ok, err := verify(key, sum, sig)
	if err != nil {
		return false, StatusExec
	}
	return ok, StatusOK
}
