package atecc608

import (
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Mechanisms returns what the slots of this chip can do. Hashing, and verification
// with public keys, are the core's.
func (t *Token) Mechanisms() []driver.Mechanism { return t.mechs }

// mechanisms makes the table.
func (t *Token) mechanisms() []driver.Mechanism {
	const ec = pkcs11.CKF_EC_F_P | pkcs11.CKF_EC_NAMEDCURVE | pkcs11.CKF_EC_UNCOMPRESS
	var generates, signs, agrees, hmac, aes bool
	for n := range config.Slots {
		s := t.zone.Slot(n)
		generates = generates || s.Generates() && s.ShowsPublic()
		signs = signs || s.SignsDigests()
		agrees = agrees || s.ECDH()
		hmac = hmac || t.holdsSecret(s, config.TypeOther)
		aes = aes || t.zone.AES() && t.holdsSecret(s, config.TypeAES)
	}
	var table []driver.Mechanism
	row := func(on bool, typ pkcs11.MechanismType, least, most, flags uint64) {
		if on {
			table = append(table, driver.Mechanism{Type: typ, MechanismInfo: pkcs11.MechanismInfo{MinKeySize: least, MaxKeySize: most, Flags: flags}})
		}
	}
	row(generates, pkcs11.CKM_EC_KEY_PAIR_GEN, 256, 256, pkcs11.CKF_GENERATE_KEY_PAIR|ec)
	row(signs, pkcs11.CKM_ECDSA, 256, 256, pkcs11.CKF_SIGN|ec)
	row(agrees, pkcs11.CKM_ECDH1_DERIVE, 256, 256, pkcs11.CKF_DERIVE|ec)
	row(hmac, pkcs11.CKM_SHA256_HMAC, 1, maxHMACKey, pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY)
	for _, m := range []pkcs11.MechanismType{pkcs11.CKM_AES_ECB, pkcs11.CKM_AES_CBC, pkcs11.CKM_AES_CBC_PAD, pkcs11.CKM_AES_CTR, pkcs11.CKM_AES_GCM} {
		row(aes, m, aesKeySize, aesKeySize, pkcs11.CKF_ENCRYPT|pkcs11.CKF_DECRYPT)
	}
	row(aes, pkcs11.CKM_AES_CMAC, aesKeySize, aesKeySize, pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY)
	return table
}
