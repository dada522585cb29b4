package atecc

import (
	"encoding/binary"
	"fmt"
)

// The first byte of a write to the chip.
const (
	wordReset   = 0x00 // read the answer from its start
	wordSleep   = 0x01 // low power, RAM is lost
	wordIdle    = 0x02 // low power, RAM is kept
	wordCommand = 0x03
)

// The opcodes.
const (
	opRead        = 0x02
	opMAC         = 0x08
	opWrite       = 0x12
	opGenDig      = 0x15
	opNonce       = 0x16
	opLock        = 0x17
	opRandom      = 0x1B
	opDeriveKey   = 0x1C
	opUpdateExtra = 0x20
	opCounter     = 0x24
	opCheckMac    = 0x28
	opInfo        = 0x30
	opGenKey      = 0x40
	opSign        = 0x41
	opECDH        = 0x43
	opVerify      = 0x45
	opPrivWrite   = 0x46
	opSHA         = 0x47
	opAES         = 0x51
	opKDF         = 0x56
	opSelfTest    = 0x77
	opSecureBoot  = 0x80
)

// A group is count, payload and CRC; the payload of a command is opcode, Param1,
// Param2 and data.
const (
	groupOverhead = 3
	statusGroup   = groupOverhead + 1
	maxData       = 155
	maxCommand    = 1 + 7 + maxData         // with the word address
	maxAnswer     = groupOverhead + 64 + 64 // more than any answer has
	noSlot        = -1                      // of a command that uses none
	tempKeySlot   = 0xFFFF                  // as Param2: TempKey instead of a slot
)

// crc is the CRC-16 of the chip: polynomial 0x8005, the bits of each byte lowest
// first, the register not reflected, low byte first on the wire.
func crc(b []byte) uint16 {
	var r uint16
	for _, x := range b {
		for i := range 8 {
			top := r >> 15
			r <<= 1
			if uint16(x>>i)&1 != top {
				r ^= 0x8005
			}
		}
	}
	return r
}

// appendCommand appends the word address and the group of a command.
func appendCommand(b []byte, op, p1 byte, p2 uint16, data []byte) []byte {
	b = append(b, wordCommand)
	at := len(b)
	b = append(b, byte(7+len(data)), op, p1, byte(p2), byte(p2>>8))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint16(b, crc(b[at:]))
}

// payload is the content of the answer that b begins with. What follows it in b,
// where less came than was asked for, is ignored.
func payload(b []byte) ([]byte, error) {
	if len(b) < statusGroup {
		return nil, fmt.Errorf("%w: %d bytes", errDamaged, len(b))
	}
	n := int(b[0])
	if n < statusGroup || n > len(b) {
		return nil, fmt.Errorf("%w: it counts %d bytes", errDamaged, n)
	}
	if crc(b[:n-2]) != binary.LittleEndian.Uint16(b[n-2:]) {
		return nil, fmt.Errorf("%w: wrong CRC", errDamaged)
	}
	return b[1 : n-2], nil
}
