package atecc608

import (
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Mechanisms returns what the slots of this chip can do. Hashing, and verification
// with public keys, are the core's.
func (t *Token) Mechanisms() []driver.Mechanism {
	const ec = pkcs11.CKF_EC_F_P | pkcs11.CKF_EC_NAMEDCURVE | pkcs11.CKF_EC_UNCOMPRESS
	var generates, signs bool
	for n := range config.Slots {
		s := t.zone.Slot(n)
		generates = generates || s.Generates() && s.ShowsPublic()
		signs = signs || s.SignsDigests()
	}
	var table []driver.Mechanism
	row := func(on bool, typ pkcs11.MechanismType, least, most, flags uint64) {
		if on {
			table = append(table, driver.Mechanism{Type: typ, MechanismInfo: pkcs11.MechanismInfo{MinKeySize: least, MaxKeySize: most, Flags: flags}})
		}
	}
	row(generates, pkcs11.CKM_EC_KEY_PAIR_GEN, 256, 256, pkcs11.CKF_GENERATE_KEY_PAIR|ec)
	row(signs, pkcs11.CKM_ECDSA, 256, 256, pkcs11.CKF_SIGN|ec)
	return table
}
