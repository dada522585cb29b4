// Package wipe clears what the standard library keeps of keys.
package wipe

import (
	"crypto/cipher"
	"reflect"
)

// Block clears the key schedule of a block cipher of the standard library. The
// cipher cannot be used afterwards: nobody else may have it.
func Block(b cipher.Block) { zero(reflect.ValueOf(b)) }

// AEAD clears the key schedule of an AEAD of the standard library, likewise.
func AEAD(a cipher.AEAD) { zero(reflect.ValueOf(a)) }

// zero clears what v points to, directly or as a struct that embeds pointers. A
// struct is set as a whole, so that it does not matter what its fields are.
func zero(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && v.Elem().CanSet() {
			v.Elem().SetZero()
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Pointer {
				zero(f)
			}
		}
	}
}
