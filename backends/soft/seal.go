package soft

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/go-cryptoki/cryptoki/internal/wipe"
)

// KDF is the cost of making a key of a PIN with Argon2id (RFC 9106). It is in
// the token's record, and changes for a PIN when the PIN is set.
type KDF struct {
	MemoryKiB uint32 // 8 to 65536
	Passes    uint16 // 1 to 64
	Threads   uint8  // 1 to 16
}

// DefaultKDF is the cost of a PIN unless Options say otherwise: two passes over
// 32 MiB, by four threads, which is more than the least that OWASP asks of
// Argon2id (two passes over 19 MiB). docs/soft.md says how long that takes, and
// where to choose less.
var DefaultKDF = KDF{MemoryKiB: 32 << 10, Passes: 2, Threads: 4}

// check says what is wrong with the parameters. The limits keep a forged record
// from stopping the machine.
func (k KDF) check() error {
	switch {
	case k.MemoryKiB < 8 || k.MemoryKiB > 64<<10:
		return fmt.Errorf("KDF memory of %d KiB; it is 8 to 65536", k.MemoryKiB)
	case k.Passes < 1 || k.Passes > 64:
		return fmt.Errorf("%d KDF passes; they are 1 to 64", k.Passes)
	case k.Threads < 1 || k.Threads > 16:
		return fmt.Errorf("%d KDF threads; they are 1 to 16", k.Threads)
	}
	return nil
}

// less reports whether k costs less work than other.
func (k KDF) less(other KDF) bool {
	return uint64(k.MemoryKiB)*uint64(k.Passes) < uint64(other.MemoryKiB)*uint64(other.Passes)
}

// key makes a key of a PIN. The caller wipes it, and calls it by withPIN.
func (k KDF) key(pin []byte, salt [16]byte) []byte {
	return argon2.IDKey(pin, salt[:], uint32(k.Passes), k.MemoryKiB, k.Threads, 32)
}

// onePIN is held while a key is made of a PIN: Argon2id takes much memory, and many
// may log in at once, each to a token of its own too.
var onePIN sync.Mutex

// withPIN calls f, which makes a key of a PIN at the cost of k, by confidential.
// Then it has the garbage collector look for what is not used any more, and gives
// whole pages of it back to the system, which clears them: above all the memory in
// which Argon2id has worked, of which the key could be made. That takes some
// milliseconds.
func (t *Token) withPIN(k KDF, f func()) {
	onePIN.Lock()
	defer onePIN.Unlock()
	if k.MemoryKiB < 1<<10 { // that is for tests
		confidential(f)
		t.derived.Add(1)
		return
	}
	neighbours := neighboursOfState()
	confidential(f)
	t.derived.Add(1)
	debug.FreeOSMemory()
	overwriteFreed()
	runtime.KeepAlive(neighbours)
}

// stateLen is the size of a BLAKE2b state, in whose last block Argon2id leaves the
// PIN, on a machine of 64 bits and of 32.
const stateLen = 348 + 12*(bits.UintSize/64)

// neighboursOfState takes memory of the size of a BLAKE2b state until the next
// piece, which Argon2id takes, is most likely beside it, in the same page of Go's
// allocator. While the caller keeps what is returned, that page stays in use. If it
// did not, the collector would free it as a whole while Argon2id works, and another
// processor may have it then, in the store of pages that it has at hand: from there
// it neither goes back to the system nor comes to overwriteFreed.
func neighboursOfState() (pieces [][]byte) {
	const page = 8 << 10
	for a, b := uintptr(0), uintptr(0); len(pieces) < 1024; {
		piece := make([]byte, stateLen)
		pieces = append(pieces, piece)
		c := reflect.ValueOf(piece).Pointer()
		// Three in a row, in the first half: a page that has room for more.
		if c%page < page/2 && a/page == c/page && c-b == b-a {
			break
		}
		a, b = b, c
	}
	return pieces
}

// overwriteFreed takes and clears memory of the size of a BLAKE2b state: a piece so
// small, between others that are in use, does not go back to the system.
func overwriteFreed() {
	var pieces [1024][]byte
	for i := range pieces {
		pieces[i] = make([]byte, stateLen)
	}
	runtime.KeepAlive(&pieces)
}

const tokenKeyLen = 32

// Contexts of derived keys and of what is sealed: no two uses share one.
const (
	contextWrap    = "cryptoki soft 1 wrap "
	contextToken   = "cryptoki soft 1 token"
	contextPublic  = "cryptoki soft 1 public"
	contextPrivate = "cryptoki soft 1 private"
	contextSecret  = "cryptoki soft 1 secret "
	contextBook    = "cryptoki soft 2 inventory"
	contextElement = "cryptoki soft 2 element"
)

var errSeal = errors.New("not authentic")

// A keyring holds the token key and the keys made of it, while somebody is
// logged in.
type keyring struct {
	tokenKey []byte
	public   cipher.AEAD  // authenticates the attributes of public objects
	private  cipher.AEAD  // seals those of private ones
	book     cipher.AEAD  // seals the inventory
	elements cipher.Block // makes its elements
}

func newKeyring(tokenKey []byte) *keyring {
	k := &keyring{tokenKey: tokenKey}
	confidentialSeal(func() {
		k.public = aead(derive(tokenKey, contextPublic))
		k.private = aead(derive(tokenKey, contextPrivate))
		k.book = aead(derive(tokenKey, contextBook))
		k.elements = block(derive(tokenKey, contextElement))
	})
	return k
}

// wipe clears the keys.
func (k *keyring) wipe() {
	clear(k.tokenKey)
	wipe.AEAD(k.public)
	wipe.AEAD(k.private)
	wipe.AEAD(k.book)
	wipe.Block(k.elements)
	k.public, k.private, k.book, k.elements = nil, nil, nil, nil
}

// sealSecret seals the secret part of an object. The key is used for that object
// alone.
func (k *keyring) sealSecret(name string, plain, data []byte) (sealed []byte) {
	k.with(contextSecret+name, func(a cipher.AEAD) { sealed = seal(nil, a, plain, data) })
	return sealed
}

func (k *keyring) openSecret(name string, sealed, data []byte) (plain []byte, err error) {
	k.with(contextSecret+name, func(a cipher.AEAD) { plain, err = open(a, sealed, data) })
	return plain, err
}

// check returns errSeal if the token's record is not authentic.
func (k *keyring) check(rec *tokenRecord) (err error) {
	k.with(contextToken, func(a cipher.AEAD) { _, err = open(a, rec.mac, rec.signed) })
	return err
}

// with calls f with what a key seals that is made for this call.
func (k *keyring) with(info string, f func(cipher.AEAD)) {
	confidentialSeal(func() {
		a := aead(derive(k.tokenKey, info))
		defer wipe.AEAD(a)
		f(a)
	})
}

// derive returns HKDF-Expand(key, info) of 32 bytes, of which there is but one
// block: HMAC(key, info ‖ 1), RFC 5869 §2.3. key is uniform already, and not longer
// than a block. Package hkdf leaves a copy of the key behind, and what crypto/hmac
// keeps of it takes ten times as long to be cleared.
func derive(key []byte, info string) []byte {
	h := sha256.New()
	defer wipe.MAC(h)
	pad := make([]byte, sha256.BlockSize)
	defer clear(pad)
	copy(pad, key)
	for i := range pad {
		pad[i] ^= 0x36
	}
	h.Write(pad)
	h.Write([]byte(info))
	h.Write([]byte{1})
	inner := h.Sum(nil)
	defer clear(inner)
	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	h.Reset()
	h.Write(pad)
	h.Write(inner)
	return h.Sum(nil)
}

// aead returns AES-256-GCM with a random nonce in front of what is sealed, and
// wipes the key. 2^32 uses of one key are safe. The caller wipes what it returns.
func aead(key []byte) cipher.AEAD {
	b := block(key)
	defer wipe.Block(b)
	a, err := cipher.NewGCMWithRandomNonce(b)
	if err != nil {
		panic(err) // the block is that of AES
	}
	return a
}

// block returns AES-256, and wipes the key.
func block(key []byte) cipher.Block {
	b, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		panic(err) // the length is fixed and allowed
	}
	return b
}

func seal(dst []byte, a cipher.AEAD, plain, data []byte) []byte {
	return a.Seal(dst, nil, plain, data)
}

func open(a cipher.AEAD, sealed, data []byte) ([]byte, error) {
	plain, err := a.Open(nil, nil, sealed, data)
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}

// objectData appends the associated data of a part of an object's record: its
// name, the header, and what else belongs to it.
func objectData(dst []byte, part byte, name string, header []byte) []byte {
	dst = slices.Grow(dst, 2+len(name)+len(header))
	dst = append(dst, part, byte(len(name)))
	dst = append(dst, name...)
	return append(dst, header...)
}

// wrap puts the token key under a new PIN, with a new salt. role is of a fixed
// length.
func wrap(tokenKey, pin []byte, role string, serial, epoch [8]byte, kdf KDF, salt [16]byte) wrappedKey {
	w := wrappedKey{kdf: kdf, salt: salt}
	a := aead(kdf.key(pin, w.salt))
	defer wipe.AEAD(a)
	w.wrapped = seal(nil, a, tokenKey, w.data(role, serial, epoch))
	return w
}

// unwrap returns the token key, or errSeal if the PIN is wrong. The time that it
// takes does not depend on the PIN.
func (w *wrappedKey) unwrap(wrapped, pin []byte, role string, serial, epoch [8]byte) ([]byte, error) {
	a := aead(w.kdf.key(pin, w.salt))
	defer wipe.AEAD(a)
	return open(a, wrapped, w.data(role, serial, epoch))
}

func (w *wrappedKey) data(role string, serial, epoch [8]byte) []byte {
	b := append([]byte(contextWrap), role...)
	b = append(b, serial[:]...)
	b = append(b, epoch[:]...)
	b = w.kdf.append(b)
	return append(b, w.salt[:]...)
}
