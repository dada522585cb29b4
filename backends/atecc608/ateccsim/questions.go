package ateccsim

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// Questions are the choices where public sources do not say what the chip does.
// The zero value is the documented choice.
type Questions struct {
	RandomFirst      bool // ReqRandom keys sign and agree only after Random, Nonce or GenKey since the last sleep
	RandomChallenge  bool // MAC and CheckMac refuse ReqRandom keys where the host chose all of the message
	CompactContext   bool // an exported SHA context is count (4 bytes), H0 to H7 low byte first, pending: 36 to 99 bytes
	HKDFExpand       bool // KDF HKDF appends 01 to the message, as an expand step of RFC 5869 has it
	AEAD             bool // KDF PRF has AEAD mode 1: 32 bytes go to the target, 32 are output
	OTPFirst         bool // Lock(data) sums OTP before the slots
	MatchBoth        bool // CountMatch refuses when the two copies of the limit differ
	MatchPast        bool // CountMatch refuses when the counter is above the limit, not at it
	TransportLock    bool // UseLock is taken, and keys work only after CheckMac with its slot since the last sleep
	StrictProtection bool // ECDHProt and KDFProt 2 refuse the command, as 3 does
	KeepBuffers      bool // Sign, Verify, MAC, CheckMac and DeriveKey leave TempKey and the message buffer valid
	NoGPIO           bool // Info(GPIO) is an execution error
	PadFF            bool // a 32-byte read past the end of a slot shows FF, not 00
	BlankKeyExec     bool // a slot without a key is an execution error, not an ECC fault
	BootKeepsLatch   bool // SecureBoot does not set the latch
	NoWatchdogStatus bool // a command that the watchdog will cut is begun all the same
	LateSlotLock     bool // a slot cannot be locked before the data zone
	EarlyGenKey      bool // GenKey makes keys before the configuration is locked
}

// ParseQuestions reads the form of the command line: names of fields in lower
// case with hyphens, separated by commas, such as random-first,pad-ff.
func ParseQuestions(s string) (Questions, error) {
	var q Questions
	v := reflect.ValueOf(&q).Elem()
	fields := make(map[string]int)
	var names []string
	for i := range v.NumField() {
		name := hyphenate(v.Type().Field(i).Name)
		fields[name] = i
		names = append(names, name)
	}
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		i, ok := fields[name]
		if !ok {
			return Questions{}, fmt.Errorf("ateccsim: no open question %q: there are %s", name, strings.Join(names, ", "))
		}
		v.Field(i).SetBool(true)
	}
	return q, nil
}

// hyphenate makes otp-first of OTPFirst.
func hyphenate(name string) string {
	var b strings.Builder
	for i, r := range name {
		starts := i+1 < len(name) && unicode.IsLower(rune(name[i+1]))
		if i > 0 && unicode.IsUpper(r) && (starts || unicode.IsLower(rune(name[i-1]))) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
