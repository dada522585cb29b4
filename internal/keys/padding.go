package keys

import (
	"crypto"
	"crypto/rand"
	"crypto/subtle"
)

// The paddings of RSA, for devices that do no more than the private key
// operation, and for what crypto/rsa does not do. The caller has checked that
// everything fits.

// PadPKCS1 returns the block of k bytes, 00 01 FF … FF 00 data, of a signature
// with CKM_RSA_PKCS. RFC 8017 §9.2.
func PadPKCS1(k int, data []byte) []byte {
	em := make([]byte, k)
	em[1] = 1
	for i := 2; i < k-len(data)-1; i++ {
		em[i] = 0xff
	}
	copy(em[k-len(data):], data)
	return em
}

// PadPSS returns the block of CKM_RSA_PKCS_PSS, EMSA-PSS-ENCODE, of a digest:
// bits is one less than the modulus has. RFC 8017 §9.1.1.
func PadPSS(bits int, h, mgf crypto.Hash, salt int, digest []byte) []byte {
	em := make([]byte, (bits+7)/8)
	db, sum := em[:len(em)-h.Size()-1], em[len(em)-h.Size()-1:len(em)-1]
	em[len(em)-1] = 0xbc
	random := db[len(db)-salt:]
	rand.Read(random)
	db[len(db)-salt-1] = 1
	w := h.New()
	w.Write(make([]byte, 8))
	w.Write(digest)
	w.Write(random)
	w.Sum(sum[:0])
	xorMGF1(db, mgf.New(), sum)
	em[0] &= 0xff >> (8*len(em) - bits)
	return em
}

// UnpadPKCS1 takes the block 00 02 random 00 data apart, which has as many bytes
// as the modulus. It takes the same time for every block that is wrong. data is a
// part of em. RFC 8017 §7.2.2.
func UnpadPKCS1(em []byte) (data []byte, ok bool) {
	good := subtle.ConstantTimeByteEq(em[0], 0) & subtle.ConstantTimeByteEq(em[1], 2)
	looking, index := 1, 0
	for i := 2; i < len(em); i++ {
		zero := subtle.ConstantTimeByteEq(em[i], 0)
		index = subtle.ConstantTimeSelect(looking&zero, i, index)
		looking = subtle.ConstantTimeSelect(zero, 0, looking)
	}
	good &= 1 - looking
	good &= subtle.ConstantTimeLessOrEq(2+8, index)
	if good != 1 {
		return nil, false
	}
	return em[index+1:], true
}

// UnpadOAEP takes EME-OAEP apart, in the same way. em is modified, has as many
// bytes as the modulus, and at least two digests and two more. RFC 8017 §7.1.2.
func UnpadOAEP(em []byte, h, mgf crypto.Hash, label []byte) (data []byte, ok bool) {
	n := h.Size()
	seed, db := em[1:1+n], em[1+n:]
	xorMGF1(seed, mgf.New(), db)
	xorMGF1(db, mgf.New(), seed)
	w := h.New()
	w.Write(label)
	good := subtle.ConstantTimeByteEq(em[0], 0) & subtle.ConstantTimeCompare(w.Sum(nil), db[:n])
	looking, index, bad := 1, 0, 0
	for i := n; i < len(db); i++ {
		zero, one := subtle.ConstantTimeByteEq(db[i], 0), subtle.ConstantTimeByteEq(db[i], 1)
		index = subtle.ConstantTimeSelect(looking&one, i, index)
		bad |= looking & (1 - zero) & (1 - one)
		looking &= 1 - one
	}
	good &= (1 - looking) & (1 - bad)
	if good != 1 {
		return nil, false
	}
	return db[index+1:], true
}
