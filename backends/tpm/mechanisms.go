package tpm

import (
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// mechanisms is the table of what this TPM does. Digests, verification and
// encryption with public keys are the core's.
func (a *abilities) mechanisms() []driver.Mechanism {
	const ecFlags = pkcs11.CKF_EC_F_P | pkcs11.CKF_EC_NAMEDCURVE | pkcs11.CKF_EC_UNCOMPRESS
	const mac = pkcs11.CKF_SIGN | pkcs11.CKF_VERIFY
	var table []driver.Mechanism
	row := func(typ pkcs11.MechanismType, least, most int, flags uint64) {
		table = append(table, driver.Mechanism{Type: typ, MechanismInfo: pkcs11.MechanismInfo{MinKeySize: uint64(least), MaxKeySize: uint64(most), Flags: flags | pkcs11.CKF_HW}})
	}
	if n := len(a.rsa); n > 0 {
		least, most := int(a.rsa[0]), int(a.rsa[n-1])
		row(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, least, most, pkcs11.CKF_GENERATE_KEY_PAIR)
		row(pkcs11.CKM_RSA_PKCS, least, most, pkcs11.CKF_SIGN|pkcs11.CKF_DECRYPT)
		row(pkcs11.CKM_RSA_X_509, least, most, pkcs11.CKF_SIGN|pkcs11.CKF_DECRYPT)
		row(pkcs11.CKM_RSA_PKCS_OAEP, least, most, pkcs11.CKF_DECRYPT)
		row(pkcs11.CKM_RSA_PKCS_PSS, least, most, pkcs11.CKF_SIGN)
	}
	if n := len(a.curves); n > 0 {
		least, most := curveOf(a.curves[0]).Params().BitSize, curveOf(a.curves[n-1]).Params().BitSize
		row(pkcs11.CKM_EC_KEY_PAIR_GEN, least, most, pkcs11.CKF_GENERATE_KEY_PAIR|ecFlags)
		row(pkcs11.CKM_ECDSA, least, most, pkcs11.CKF_SIGN|ecFlags)
		row(pkcs11.CKM_ECDH1_DERIVE, least, most, pkcs11.CKF_DERIVE|ecFlags)
		row(pkcs11.CKM_ECDH1_COFACTOR_DERIVE, least, most, pkcs11.CKF_DERIVE|ecFlags)
	}
	if a.hmac {
		row(pkcs11.CKM_GENERIC_SECRET_KEY_GEN, generatedHMAC, generatedHMAC, pkcs11.CKF_GENERATE)
		for _, h := range hmacHashes {
			if a.hasHash(h.id) {
				row(h.plain, minHMAC, maxHMAC, mac)
				row(h.general, minHMAC, maxHMAC, mac)
			}
		}
	}
	if a.cmac {
		most := 16
		if a.cmac256 {
			most = 32
		}
		row(pkcs11.CKM_AES_KEY_GEN, 16, most, pkcs11.CKF_GENERATE)
		row(pkcs11.CKM_AES_CMAC, 16, most, mac)
		row(pkcs11.CKM_AES_CMAC_GENERAL, 16, most, mac)
	}
	return table
}
