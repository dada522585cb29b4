package soft

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"math/big"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/wipe"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A key is a parsed key, of which one of the fields is set. It is wiped when it
// is dropped and nobody uses it any more.
type key struct {
	refs atomic.Int32 // users, and 1 for the object that keeps it

	ec   *ecdsa.PrivateKey
	rsa  *rsa.PrivateKey
	ed   ed25519.PrivateKey
	ecdh *ecdh.PrivateKey
	raw  []byte // of a secret key

	block cipher.Block // of an AES key
}

func parseKey(o *object, values pkcs11.Template) (*key, error) {
	if o.class == pkcs11.CKO_SECRET_KEY {
		k := new(key)
		k.refs.Store(1)
		k.raw = append([]byte{}, values.Bytes(pkcs11.CKA_VALUE)...)
		if o.keyType == pkcs11.CKK_AES {
			block, err := aes.NewCipher(k.raw)
			if err != nil {
				return nil, fmt.Errorf("AES key of %d bytes", len(k.raw))
			}
			k.block = block
		}
		return k, nil
	}
	parsed, err := keys.PrivateKey(append(values[:len(values):len(values)], o.Attributes()...))
	if err != nil {
		return nil, err
	}
	return ownKey(parsed)
}

// ownKey makes a key of a private key of the standard library.
func ownKey(parsed any) (*key, error) {
	k := new(key)
	k.refs.Store(1)
	switch p := parsed.(type) {
	case *ecdsa.PrivateKey:
		k.ec = p
	case *rsa.PrivateKey:
		k.rsa = p
	case ed25519.PrivateKey:
		k.ed = p
	case *ecdh.PrivateKey:
		k.ecdh = p
	default:
		return nil, fmt.Errorf("private key of type %T: %w", parsed, pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	return k, nil
}

func (k *key) public() crypto.PublicKey {
	switch {
	case k.ec != nil:
		return &k.ec.PublicKey
	case k.rsa != nil:
		return &k.rsa.PublicKey
	case k.ed != nil:
		return k.ed.Public()
	default:
		return k.ecdh.PublicKey()
	}
}

// retain adds a user, unless the key is being wiped.
func (k *key) retain() bool {
	for {
		n := k.refs.Load()
		if n == 0 {
			return false
		}
		if k.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (k *key) release() {
	if k.refs.Add(-1) == 0 {
		k.wipe()
	}
}

// wipe clears what can be. The standard library keeps copies that cannot, of EC
// and Ed25519 keys in its FIPS 140 module, and X25519 keys. They go with the
// garbage collector.
func (k *key) wipe() {
	switch {
	case k.ec != nil:
		wipeInt(k.ec.D)
	case k.rsa != nil:
		wipe.RSA(k.rsa)
	}
	clear(k.ed)
	clear(k.raw)
	if k.block != nil {
		wipe.Block(k.block)
	}
}

func wipeInt(x *big.Int) {
	if x != nil {
		clear(x.Bits())
	}
}
