//go:build cgo && linux

package bench

/*
// As much of Cryptoki v2.40 as is called here: C_SignInit and C_Sign are the 43rd and
// the 44th function of the list (pkcs11f.h), behind the version.
typedef unsigned long ulong_t;
typedef struct { ulong_t mechanism; void *parameter; ulong_t parameter_len; } mechanism_t;
typedef struct { unsigned char version[2]; void *functions[68]; } list_t;

static ulong_t sign(list_t *list, ulong_t session, ulong_t key) {
	ulong_t (*init)(ulong_t, mechanism_t *, ulong_t) = (ulong_t (*)(ulong_t, mechanism_t *, ulong_t)) list->functions[42];
	ulong_t (*sign)(ulong_t, unsigned char *, ulong_t, unsigned char *, ulong_t *) =
		(ulong_t (*)(ulong_t, unsigned char *, ulong_t, unsigned char *, ulong_t *)) list->functions[43];
	mechanism_t ecdsa = { 0x1041, 0, 0 };
	unsigned char digest[32] = { 0 }, signature[64];
	ulong_t len = sizeof signature;
	ulong_t rv = init(session, &ecdsa, key);
	if (rv == 0)
		rv = sign(session, digest, sizeof digest, signature, &len);
	return rv == 0 && len != sizeof signature ? 5 : rv;
}
*/
import "C"

import (
	"reflect"
	"unsafe"

	p11 "github.com/miekg/pkcs11"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A signer signs as a C program does that knows how long an ECDSA signature is, with
// one call of C_SignInit and one of C_Sign. (Package github.com/miekg/pkcs11 asks for
// the length first, which is a third call.)
type signer struct {
	list         *C.list_t
	session, key C.ulong_t
}

// newSigner returns a signer of a module that p has initialized, with a session and a
// P-256 key. p11-kit-client.so returns another list of functions each time it is asked
// for one, and p does not show its own: it is behind the handle of the library.
func newSigner(p *p11.Ctx, session p11.SessionHandle, key p11.ObjectHandle) *signer {
	type ctx struct {
		library unsafe.Pointer
		list    *C.list_t
	}
	c := (*ctx)(reflect.ValueOf(p).Elem().FieldByName("ctx").UnsafePointer())
	return &signer{c.list, C.ulong_t(session), C.ulong_t(key)}
}

// sign signs 32 zero bytes by CKM_ECDSA.
func (s *signer) sign() error {
	if rv := C.sign(s.list, s.session, s.key); rv != 0 {
		return pkcs11.Error(rv)
	}
	return nil
}
