// Package wipe clears what the standard library keeps of keys.
package wipe

import (
	"crypto/cipher"
	"crypto/rsa"
	"hash"
	"reflect"
)

// Block clears the key schedule of a block cipher of the standard library. The
// cipher cannot be used afterwards: nobody else may have it.
func Block(b cipher.Block) { zero(reflect.ValueOf(b)) }

// AEAD clears the key schedule of an AEAD of the standard library, likewise.
func AEAD(a cipher.AEAD) { zero(reflect.ValueOf(a)) }

// Stream clears the key schedule and the counter of a stream of the standard
// library, likewise.
func Stream(s cipher.Stream) { zero(reflect.ValueOf(s)) }

// MAC clears the key of a MAC of the standard library, likewise.
func MAC(h hash.Hash) { all(reflect.ValueOf(h)) }

// RSA clears the private parts of a key, also those that crypto/rsa keeps for
// itself. The public key stays.
func RSA(k *rsa.PrivateKey) {
	if k.D != nil {
		clear(k.D.Bits())
	}
	for _, p := range k.Primes {
		clear(p.Bits())
	}
	all(reflect.ValueOf(&k.Precomputed))
}

// all clears everything that can be reached from v. It is for values that share
// nothing with others.
func all(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface:
		all(v.Elem())
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		// NewAt, since v may be a field that is not exported.
		e := reflect.NewAt(v.Type().Elem(), v.UnsafePointer()).Elem()
		all(e)
		e.SetZero()
	case reflect.Struct:
		for i := range v.NumField() {
			all(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			if e := v.Index(i); e.CanAddr() {
				e = reflect.NewAt(e.Type(), e.Addr().UnsafePointer()).Elem()
				all(e)
				e.SetZero()
			}
		}
	}
}

// zero clears what v points to, directly or as a struct that holds pointers. What
// is pointed to is set as a whole, so that it does not matter what its fields are.
func zero(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			// NewAt, since v may be a field that is not exported.
			reflect.NewAt(v.Type().Elem(), v.UnsafePointer()).Elem().SetZero()
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Pointer {
				zero(f)
			}
		}
	}
}
