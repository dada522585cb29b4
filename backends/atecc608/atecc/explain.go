package atecc

import (
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// explain is the error for a status, with the reason if the configuration tells.
func (d *Device) explain(c *command, status Status) *Error {
	e := &Error{Op: c.name, Slot: c.slot, Status: status, Code: pkcs11.CKR_DEVICE_ERROR}
	cfg := d.Config()
	switch status {
	case StatusMiscompare:
		e.Code = pkcs11.CKR_SIGNATURE_INVALID
	case StatusParse:
		e.Code = pkcs11.CKR_FUNCTION_NOT_SUPPORTED
		if c.op == opAES && !cfg.AES() {
			e.Code, e.Reason = pkcs11.CKR_MECHANISM_INVALID, "AES is not enabled in this chip: bit 0 of configuration byte 13 is 0, from the factory"
		}
	case StatusECC:
		e.Code, e.Reason = pkcs11.CKR_KEY_HANDLE_INVALID, "the slot holds no valid key: generate or import one"
	case StatusSelfTest:
		e.Reason = "a self-test failed, and until it succeeds the chip serves nothing but its configuration: run SelfTest again, or remove power"
	case StatusHealth:
		e.Reason = "the random number generator failed its health test: remove power; if it happens again the chip is defective"
	case StatusExec:
		e.Code, e.Reason = why(c, &cfg)
	}
	return e
}

// unexplained is what an execution error that the configuration allows may come
// from.
func (c *command) unexplained() (string, pkcs11.Error) {
	switch c.op {
	case opWrite, opPrivWrite:
		if c.p1&sealed != 0 {
			return "the key that protects the slot is another than the one given", pkcs11.CKR_ENCRYPTED_DATA_INVALID
		}
	case opDeriveKey:
		return "the parent key is another than the one given", pkcs11.CKR_ENCRYPTED_DATA_INVALID
	case opLock:
		return "the content is another than its checksum says", pkcs11.CKR_DATA_INVALID
	case opVerify:
		return "the public key is none, or not validated", pkcs11.CKR_PUBLIC_KEY_INVALID
	case opECDH:
		return "the public key is none", pkcs11.CKR_PUBLIC_KEY_INVALID
	}
	return "", pkcs11.CKR_DEVICE_ERROR
}

// A rule is a reason for an execution error: it applies if refuses.
type rule struct {
	refuses bool
	code    pkcs11.Error
	reason  string
}

// why is the first reason in the locks and policies for an execution error.
func why(c *command, cfg *Config) (pkcs11.Error, string) {
	for _, r := range append(lockRules(c, cfg), slotRules(c, cfg)...) {
		if r.refuses {
			return r.code, r.reason
		}
	}
	return pkcs11.CKR_DEVICE_ERROR, ""
}

// Which operations need what.
var (
	needConfigLock = map[byte]bool{opGenKey: true, opSign: true, opECDH: true, opPrivWrite: true, opGenDig: true, opDeriveKey: true, opKDF: true, opSecureBoot: true, opCheckMac: true, opMAC: true}
	needDataLock   = map[byte]bool{opSign: true, opECDH: true, opDeriveKey: true, opKDF: true, opSecureBoot: true}
)

func lockRules(c *command, cfg *Config) []rule {
	zone := Zone(c.p1 & 3)
	access := c.op == opRead || c.op == opWrite
	needConfig := needConfigLock[c.op] || c.op == opWrite && zone != ZoneConfig ||
		c.op == opLock && c.p1&3 != lockConfig || c.op == opCounter && c.p1 == 1
	needData := needDataLock[c.op] || c.op == opRead && zone != ZoneConfig || c.op == opAES && c.slot >= 0
	return []rule{
		{needConfig && !cfg.Locked(), pkcs11.CKR_TOKEN_NOT_RECOGNIZED, "the configuration zone is not locked: provision the chip first, which is for ever"},
		{needData && !cfg.DataLocked(), pkcs11.CKR_TOKEN_NOT_RECOGNIZED, "the data zone is not locked: provision the chip first, which is for ever"},
		{access && c.op == opWrite && zone == ZoneConfig && cfg.Locked(), pkcs11.CKR_TOKEN_WRITE_PROTECTED, "the configuration zone is locked for ever"},
		{access && c.op == opWrite && zone == ZoneOTP && cfg.DataLocked(), pkcs11.CKR_TOKEN_WRITE_PROTECTED, "the OTP zone is locked for ever"},
		{c.op == opLock && c.p1&3 == lockConfig && cfg.Locked(), pkcs11.CKR_TOKEN_WRITE_PROTECTED, "the configuration zone is locked already"},
		{c.op == opLock && c.p1&3 == lockData && cfg.DataLocked(), pkcs11.CKR_TOKEN_WRITE_PROTECTED, "the data zone is locked already"},
		{c.op == opUpdateExtra, pkcs11.CKR_TOKEN_WRITE_PROTECTED, fmt.Sprintf("byte %d was set before, which is for ever", cfgUserExtra+int(c.p1))},
		{c.op == opCounter, pkcs11.CKR_KEY_EXHAUSTED, "the counter has reached its end"},
	}
}

func slotRules(c *command, cfg *Config) []rule {
	if c.slot < 0 {
		return nil
	}
	sc, kc := cfg.Slot(c.slot), cfg.Key(c.slot)
	const forbidden = pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED
	private := c.op == opSign || c.op == opECDH || c.op == opPrivWrite || c.op == opGenKey && c.p1 != genKeyStored
	create := c.op == opGenKey && c.p1&genKeyCreate != 0
	change := c.op == opWrite || c.op == opPrivWrite || create || c.op == opDeriveKey || c.op == opVerify && c.p1&verifyValidate == verifyValidate
	rules := []rule{
		{c.op == opLock && !kc.Lockable(), pkcs11.CKR_ACTION_PROHIBITED, "the slot cannot be locked: bit 5 of KeyConfig is 0"},
		{c.op == opLock && cfg.SlotLocked(c.slot), pkcs11.CKR_ACTION_PROHIBITED, "the slot is locked already"},
		{change && cfg.SlotLocked(c.slot), pkcs11.CKR_ACTION_PROHIBITED, "the slot is locked for ever: use another"},
		{private && !kc.Private(), pkcs11.CKR_KEY_TYPE_INCONSISTENT, "the slot is not for a private key: bit 0 of KeyConfig is 0"},
		{private && kc.Type() != KeyP256, pkcs11.CKR_KEY_TYPE_INCONSISTENT, "the slot is not for P-256: bits 2 to 4 of KeyConfig are not 4"},
		{!private && kc.Private(), pkcs11.CKR_KEY_TYPE_INCONSISTENT, "the slot is for a private key: bit 0 of KeyConfig is 1"},
		{c.op == opAES && kc.Type() != KeyAES, pkcs11.CKR_KEY_TYPE_INCONSISTENT, "the slot is not for AES keys: bits 2 to 4 of KeyConfig are not 6"},
	}
	rules = append(rules, accessRules(c, cfg, sc)...)
	return append(rules,
		rule{create && cfg.DataLocked() && !sc.GenKey(), pkcs11.CKR_ACTION_PROHIBITED, "no new key can be generated in the slot: bit 13 of SlotConfig is 0"},
		rule{c.op == opGenKey && !create && kc.Private() && !kc.PubInfo(), forbidden, "the chip does not give away the public key: bit 1 of KeyConfig is 0"},
		rule{c.op == opSign && c.p1&signExternal != 0 && !sc.SignExternal(), forbidden, "the key does not sign digests: bit 0 of SlotConfig is 0"},
		rule{c.op == opSign && c.p1&signExternal == 0 && !sc.SignInternal(), forbidden, "the key does not sign internal messages: bit 1 of SlotConfig is 0"},
		rule{c.op == opECDH && !sc.ECDH(), forbidden, "the key does not agree: bit 2 of SlotConfig is 0"},
		rule{c.op == opECDH && outputForbidden(c, cfg, sc), forbidden, fmt.Sprintf("the chip does not give out the secret in this way: bits 8 and 9 of ChipOptions are %d", cfg.Options().ECDHProtection())},
		rule{c.op == opECDH && c.p1&0xE == byte(ECDHToSlot) && c.slot&1 != 0, forbidden, "the secret can go to the next slot only from an even one"},
		rule{c.op == opDeriveKey && !sc.DeriveKey(), pkcs11.CKR_ACTION_PROHIBITED, "the key cannot be derived: bit 13 of SlotConfig is 0"},
		rule{(c.op == opMAC || c.op == opCheckMac) && sc.NoMac(), forbidden, "the key is not for MAC: bit 4 of SlotConfig is 1"},
		rule{kc.PersistentDisable() && !access(c), forbidden, "the key can be used only while the persistent latch is set: bit 12 of KeyConfig is 1"},
		rule{kc.ReqAuth() && !access(c), pkcs11.CKR_USER_NOT_LOGGED_IN, fmt.Sprintf("the key wants the key in slot %d to be presented before: bit 7 of KeyConfig is 1", kc.AuthKey())},
		rule{sc.LimitedUse() && !access(c) && cfg.DataLocked(), pkcs11.CKR_KEY_EXHAUSTED, "the uses of the key are limited, and perhaps none is left: bit 5 of SlotConfig is 1"},
	)
}

func access(c *command) bool { return c.op == opRead || c.op == opWrite || c.op == opPrivWrite }

// accessRules are those of reading and writing.
func accessRules(c *command, cfg *Config, sc SlotConfig) []rule {
	open := c.p1&sealed == 0
	write := c.op == opWrite && cfg.DataLocked()
	return []rule{
		{c.op == opRead && sc.IsSecret() && !sc.EncryptRead(), pkcs11.CKR_ATTRIBUTE_SENSITIVE, "the slot is secret: bit 7 of SlotConfig is 1 and bit 6 is 0"},
		{c.op == opRead && sc.IsSecret() && !c.ram, pkcs11.CKR_ATTRIBUTE_SENSITIVE, fmt.Sprintf("the slot is read encrypted only, with the key in slot %d", sc.ReadKey())},
		{c.op == opRead && !sc.IsSecret() && c.ram, pkcs11.CKR_ARGUMENTS_BAD, "the slot is read in clear only"},
		{write && open && sc.WriteEncrypted(), pkcs11.CKR_ACTION_PROHIBITED, fmt.Sprintf("the slot is written encrypted only, with the key in slot %d", sc.WriteKey())},
		{write && !open && !sc.WriteEncrypted(), pkcs11.CKR_ACTION_PROHIBITED, "the slot is not written encrypted: bit 14 of SlotConfig is 0"},
		{write && open && sc.WriteInvalid(), pkcs11.CKR_ACTION_PROHIBITED, "the public key is valid, and is written only after it was invalidated"},
		{write && open && !sc.WriteAlways(), pkcs11.CKR_ACTION_PROHIBITED, "the slot is never written: bits 12 to 15 of SlotConfig"},
		{c.op == opPrivWrite && cfg.DataLocked() && !sc.PrivWrite(), pkcs11.CKR_ACTION_PROHIBITED, "no key can be imported into the slot: bit 14 of SlotConfig is 0"},
	}
}

// outputForbidden applies the protection of ECDH's output.
func outputForbidden(c *command, cfg *Config, sc SlotConfig) bool {
	out := ECDHOutput(c.p1 & 0xE)
	if out == ECDHDefault {
		out = ECDHClear
		if sc.ECDHToSlot() {
			out = ECDHToSlot
		}
	}
	if out == ECDHEncrypted && !cfg.Options().IOProtection() {
		return true
	}
	switch cfg.Options().ECDHProtection() {
	case OutputEncrypted:
		return out == ECDHClear
	case OutputNone:
		return out == ECDHClear || out == ECDHEncrypted
	case OutputForbidden:
		return true
	}
	return false
}
