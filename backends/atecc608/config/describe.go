package config

import (
	"fmt"
	"strings"
)

// Describe says in a line what the slot is for, as its bits have it.
func (s Slot) Describe() string {
	var what string
	var can []string
	add := func(on bool, word string) {
		if on {
			can = append(can, word)
		}
	}
	switch {
	case s.PrivateKey():
		what = "private key"
		add(s.SignsDigests(), "signs")
		add(s.SignsInternal(), "attests")
		add(s.ECDHToNext(), fmt.Sprintf("agrees into slot %d", s.Number|1))
		add(s.ECDH() && !s.ECDHToNext(), "agrees")
		add(s.Generates(), "can be made anew")
		add(s.Imports(), fmt.Sprintf("can be imported under slot %d", s.WriteKey()))
		add(!s.Generates() && !s.Imports(), "stays")
	case s.Key&1 != 0:
		return "private key of an unknown type"
	case s.PublicKey():
		what = "public key"
		add(s.Validated(), fmt.Sprintf("validated by slot %d", s.ReadKey()))
	case s.Type() == TypeAES:
		what = "AES keys"
	case s.Secret():
		what = "secret"
	default:
		what = "data"
	}
	if s.Key&1 == 0 {
		add(s.ReadsClear(), "can be read")
		add(s.ReadsEncrypted(), fmt.Sprintf("can be read under slot %d", s.ReadKey()))
		add(s.WritesClear(), "can be written")
		add(s.WritesInvalid(), "can be written while it is not valid")
		add(s.WritesEncrypted(), fmt.Sprintf("can be written under slot %d", s.WriteKey()))
		add(!s.WritesClear() && !s.WritesInvalid() && !s.WritesEncrypted(), "stays")
	}
	if auth, on := s.Authorized(); on {
		can = append(can, fmt.Sprintf("after a check of slot %d", auth))
	}
	add(s.LimitedUse(), "uses are counted")
	add(s.Latched(), "while the latch is set")
	switch {
	case s.Locked:
		can = append(can, "locked")
	case s.Lockable():
		can = append(can, "lockable")
	}
	return what + ": " + strings.Join(can, ", ")
}
