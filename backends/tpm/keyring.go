package tpm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/go-cryptoki/cryptoki/internal/wipe"
)

// Contexts of the keys that are made of the token secret.
const (
	contextToken   = "cryptoki tpm 1 token"
	contextPublic  = "cryptoki tpm 1 public"
	contextPrivate = "cryptoki tpm 1 private"
	contextSecret  = "cryptoki tpm 1 secret "

	contextInventory = "cryptoki tpm 2 inventory"
)

var errSeal = errors.New("not authentic")

// A keyring holds the token secret, which is the authorization value of keys,
// and the keys made of it that protect records, while somebody is logged in.
type keyring struct {
	secret  []byte
	public  cipher.AEAD // authenticates the attributes of public objects
	private cipher.AEAD // seals those of private ones
}

// newKeyring takes the secret over.
func newKeyring(secret []byte) *keyring {
	return &keyring{
		secret:  secret,
		public:  aead(derive(secret, contextPublic)),
		private: aead(derive(secret, contextPrivate)),
	}
}

func (k *keyring) wipe() {
	clear(k.secret)
	wipe.AEAD(k.public)
	wipe.AEAD(k.private)
	k.public, k.private = nil, nil
}

// value returns what seals the secret value of an object.
func (k *keyring) value(id objectID) cipher.AEAD {
	return aead(derive(k.secret, contextSecret+string(id[:])))
}

// meta returns what authenticates the token's record.
func (k *keyring) meta() cipher.AEAD { return aead(derive(k.secret, contextToken)) }

// inventory returns what seals the inventory.
func (k *keyring) inventory() cipher.AEAD { return aead(derive(k.secret, contextInventory)) }

func derive(secret []byte, info string) []byte {
	out, err := hkdf.Key(sha256.New, secret, nil, info, 32)
	if err != nil {
		panic(err) // the length is fixed and allowed
	}
	return out
}

// aead returns AES-256-GCM with a random nonce in front of what is sealed, and
// wipes the key. 2^32 uses of one key are safe.
func aead(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		panic(err) // the length is fixed and allowed
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return a
}

func seal(a cipher.AEAD, plain, data []byte) []byte { return a.Seal(nil, nil, plain, data) }

func open(a cipher.AEAD, sealed, data []byte) ([]byte, error) {
	plain, err := a.Open(nil, nil, sealed, data)
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}

// data returns the associated data of a stored object: everything about it but
// its attributes, so that no part can be exchanged for that of another.
func (o *stored) data(epoch [8]byte) []byte {
	b := append([]byte{version, byte(o.flags)}, epoch[:]...)
	b = append(b, o.id[:]...)
	b = binary.BigEndian.AppendUint64(b, o.seq)
	sum := sha256.Sum256(o.blob)
	return append(b, sum[:]...)
}
