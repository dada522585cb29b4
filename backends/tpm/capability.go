package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"
)

// Properties of a TPM. Part 2, 6.13.
const (
	ptFixed           = 0x100
	ptManufacturer    = 0x105
	ptVendorString    = 0x106 // to 0x109
	ptFirmware1       = 0x10b
	ptFirmware2       = 0x10c
	ptInputBuffer     = 0x10d
	ptTransientMin    = 0x10e
	ptVariable        = 0x200
	ptPermanent       = 0x200
	ptStartupClear    = 0x201
	ptLockoutCounter  = 0x20e
	ptMaxAuthFail     = 0x20f
	ptLockoutInterval = 0x210
	ptLockoutRecovery = 0x211

	ptGroup = 0x100 // properties

	permanentInLockout = 1 << 9
)

// properties reads the properties from first to last.
func (c *channel) properties(first, last uint32) (map[uint32]uint32, error) {
	all := make(map[uint32]uint32)
	for first <= last {
		r, err := c.capability(tpm2.TPMCapTPMProperties, first, last-first+1)
		if err != nil {
			return nil, failed("read the properties of the TPM", err)
		}
		more := r.u8() != 0
		if tpm2.TPMCap(r.u32()) != tpm2.TPMCapTPMProperties {
			return nil, failed("read the properties of the TPM", errGarbled)
		}
		// A TPM returns one group of properties at a time. Part 3, 30.2.
		next := first/ptGroup*ptGroup + ptGroup
		if more {
			next = first
		}
		for n := r.u32(); n > 0 && !r.bad; n-- {
			property, value := r.u32(), r.u32()
			if property < first {
				return nil, failed("read the properties of the TPM", errGarbled)
			}
			all[property] = value
			next = max(next, property+1)
		}
		if !r.done() || next == first {
			return nil, failed("read the properties of the TPM", errGarbled)
		}
		first = next
	}
	return all, nil
}

// A firmware is what identifies the code in a TPM, and what the cached abilities
// belong to.
type firmware struct {
	manufacturer [4]byte
	vendor       [16]byte
	version      uint64
}

func firmwareOf(p map[uint32]uint32) (f firmware) {
	binary.BigEndian.PutUint32(f.manufacturer[:], p[ptManufacturer])
	for i := range uint32(4) {
		binary.BigEndian.PutUint32(f.vendor[4*i:], p[ptVendorString+i])
	}
	f.version = uint64(p[ptFirmware1])<<32 | uint64(p[ptFirmware2])
	return f
}

// text is a string of the TPM without the padding, and without what does not
// print.
func text(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b)))
}

// simulated reports whether this is a TPM in software: libtpms, or Microsoft's
// simulator.
func (f firmware) simulated() bool {
	return text(f.manufacturer[:]) == "IBM" && strings.HasPrefix(text(f.vendor[:]), "SW") || text(f.manufacturer[:]) == "MSFT"
}

// abilities is what a TPM can do, as far as it matters here. It is probed, since
// chips differ, and kept in the store, since that takes a dozen commands.
type abilities struct {
	firmware firmware
	curves   []tpm2.TPMECCCurve
	rsa      []uint16 // sizes of keys
	hashes   []tpm2.TPMAlgID
	hmac     bool // TPM2_HMAC
	cmac     bool // TPM2_MAC with AES-CMAC and keys of 128 bits
	cmac256  bool // of 256 bits
	input    int  // bytes that a command takes
	slots    int  // objects that are loaded at once, at least
}

func (a *abilities) hasCurve(c tpm2.TPMECCCurve) bool { return slices.Contains(a.curves, c) }
func (a *abilities) hasHash(h tpm2.TPMAlgID) bool     { return slices.Contains(a.hashes, h) }

// probe finds out what the TPM can do.
func (c *channel) probe(p map[uint32]uint32) (*abilities, error) {
	a := &abilities{firmware: firmwareOf(p), input: int(min(p[ptInputBuffer], maxMessage)), slots: int(min(p[ptTransientMin], 64))}
	if a.input == 0 {
		a.input = 1024
	}
	if a.slots == 0 {
		a.slots = 3
	}
	algs, err := c.list(tpm2.TPMCapAlgs, 0, 6)
	if err != nil {
		return nil, err
	}
	commands, err := c.list(tpm2.TPMCapCommands, 0, 4)
	if err != nil {
		return nil, err
	}
	ecc, err := c.list(tpm2.TPMCapECCCurves, 0, 2)
	if err != nil {
		return nil, err
	}
	alg := func(id tpm2.TPMAlgID) bool {
		return slices.ContainsFunc(algs, func(b []byte) bool { return binary.BigEndian.Uint16(b) == uint16(id) })
	}
	command := func(cc tpm2.TPMCC) bool {
		return slices.ContainsFunc(commands, func(b []byte) bool { return binary.BigEndian.Uint32(b)&0xffff == uint32(cc) })
	}
	for _, h := range []tpm2.TPMAlgID{tpm2.TPMAlgSHA1, tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512} {
		if alg(h) {
			a.hashes = append(a.hashes, h)
		}
	}
	for _, known := range curves {
		id := put16(nil, uint16(known.id))
		if alg(tpm2.TPMAlgECC) && a.hasHash(known.hash) && slices.ContainsFunc(ecc, func(b []byte) bool { return bytes.Equal(b, id) }) {
			a.curves = append(a.curves, known.id)
		}
	}
	if alg(tpm2.TPMAlgRSA) {
		for _, bits := range []uint16{2048, 3072, 4096} {
			ok, err := c.testParms(rsaParms(bits))
			if err != nil {
				return nil, err
			}
			if ok {
				a.rsa = append(a.rsa, bits)
			}
		}
	}
	a.hmac = alg(tpm2.TPMAlgHMAC) && alg(tpm2.TPMAlgKeyedHash) && command(tpm2.TPMCCMAC) && command(tpm2.TPMCCMACStart)
	if alg(tpm2.TPMAlgCMAC) && alg(tpm2.TPMAlgSymCipher) && command(tpm2.TPMCCMAC) {
		if a.cmac, err = c.testParms(cmacParms(128)); err != nil {
			return nil, err
		}
		if a.cmac256, err = c.testParms(cmacParms(256)); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// list reads a list of a capability, whose items have so many bytes.
func (c *channel) list(cap tpm2.TPMCap, first uint32, size int) ([][]byte, error) {
	what := "read what the TPM can do"
	var items [][]byte
	for {
		r, err := c.capability(cap, first, 254)
		if err != nil {
			return nil, failed(what, err)
		}
		more := r.u8() != 0
		got := tpm2.TPMCap(r.u32())
		n := r.u32()
		for ; n > 0 && !r.bad; n-- {
			items = append(items, r.take(size))
		}
		if !r.done() || got != cap {
			return nil, failed(what, errGarbled)
		}
		if !more || len(items) == 0 || len(items) > 4096 {
			return items, nil
		}
		last := items[len(items)-1]
		if size == 2 || size == 6 {
			first = uint32(binary.BigEndian.Uint16(last)) + 1
		} else {
			first = binary.BigEndian.Uint32(last)&0xffff + 1
		}
	}
}

// testParms asks the TPM whether it takes a TPMT_PUBLIC_PARMS.
func (c *channel) testParms(parms []byte) (bool, error) {
	_, err := c.run(tpm2.TPMCCTestParms, nil, parms)
	var rc tpm2.TPMRC
	if errors.As(err, &rc) && !rc.IsWarning() && rc != tpm2.TPMRCInitialize && rc != tpm2.TPMRCFailure {
		return false, nil
	}
	if err != nil {
		return false, failed("read what the TPM can do", err)
	}
	return true, nil
}

func rsaParms(bits uint16) []byte {
	b := put16(put16(put16(nil, uint16(tpm2.TPMAlgRSA)), uint16(tpm2.TPMAlgNull)), uint16(tpm2.TPMAlgNull))
	return put32(put16(b, bits), 0)
}

func cmacParms(bits uint16) []byte {
	b := put16(put16(nil, uint16(tpm2.TPMAlgSymCipher)), uint16(tpm2.TPMAlgAES))
	return put16(put16(b, bits), uint16(tpm2.TPMAlgCMAC))
}

// String names the TPM for people.
func (f firmware) String() string {
	return fmt.Sprintf("%s %s, firmware %d.%d.%d.%d", text(f.manufacturer[:]), text(f.vendor[:]),
		f.version>>48, f.version>>32&0xffff, f.version>>16&0xffff, f.version&0xffff)
}
