package tpmtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// An Exchange is a command and what came back for it.
type Exchange struct {
	Command  []byte
	Response []byte // nil if there was an error
	Err      error
}

// Code returns what the command asks for.
func (e Exchange) Code() tpm2.TPMCC { return CommandCode(e.Command) }

func (e Exchange) String() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", CommandName(e.Code()), e.Err)
	}
	if rc := ResponseCode(e.Response); rc != tpm2.TPMRCSuccess {
		return fmt.Sprintf("%s: %v", CommandName(e.Code()), rc)
	}
	return CommandName(e.Code())
}

// A Spy is what sits on the wires between the processor and the TPM and writes
// down all that it sees.
type Spy struct {
	tpm transport.TPM

	mu        sync.Mutex
	exchanges []Exchange
}

// NewSpy returns a Spy on the way to tpm.
func NewSpy(tpm transport.TPM) *Spy { return &Spy{tpm: tpm} }

// Send hands the command on and notes it with its response.
func (s *Spy) Send(command []byte) ([]byte, error) {
	e := Exchange{Command: bytes.Clone(command)}
	response, err := s.tpm.Send(command)
	e.Response, e.Err = bytes.Clone(response), err
	s.mu.Lock()
	s.exchanges = append(s.exchanges, e)
	s.mu.Unlock()
	return response, err
}

// Forget drops what was noted so far.
func (s *Spy) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exchanges = nil
}

// Exchanges returns what was noted since the last Forget.
func (s *Spy) Exchanges() []Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Exchange(nil), s.exchanges...)
}

// Count returns the number of exchanges since the last Forget.
func (s *Spy) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.exchanges)
}

// String lists the commands, a line for each.
func (s *Spy) String() string {
	var b strings.Builder
	for i, e := range s.Exchanges() {
		fmt.Fprintf(&b, "%3d %s\n", i, e)
	}
	return b.String()
}

// window is how much of a secret has to appear on the bus to count as seen. It is
// long enough that it never appears by chance.
const window = 8

// Seen returns the exchanges in which some window bytes in a row of the secret
// appear, in either direction. A secret that is shorter is looked for whole.
func (s *Spy) Seen(secret []byte) []Exchange {
	var seen []Exchange
	for _, e := range s.Exchanges() {
		if containsPart(e.Command, secret) || containsPart(e.Response, secret) {
			seen = append(seen, e)
		}
	}
	return seen
}

func containsPart(b, secret []byte) bool {
	if len(secret) == 0 {
		return false
	}
	n := min(window, len(secret))
	for i := 0; i+n <= len(secret); i++ {
		if bytes.Contains(b, secret[i:i+n]) {
			return true
		}
	}
	return false
}

// CommandName returns the name that Part 3 of the specification has for a
// command, less the TPM2_.
func CommandName(code tpm2.TPMCC) string {
	if name, ok := commandNames[code]; ok {
		return name
	}
	return fmt.Sprintf("command %#x", uint32(code))
}

var commandNames = map[tpm2.TPMCC]string{
	tpm2.TPMCCEvictControl:               "EvictControl",
	tpm2.TPMCCHierarchyChanegAuth:        "HierarchyChangeAuth",
	tpm2.TPMCCNVUndefineSpace:            "NV_UndefineSpace",
	tpm2.TPMCCClear:                      "Clear",
	tpm2.TPMCCNVDefineSpace:              "NV_DefineSpace",
	tpm2.TPMCCCreatePrimary:              "CreatePrimary",
	tpm2.TPMCCNVWrite:                    "NV_Write",
	tpm2.TPMCCDictionaryAttackLockReset:  "DictionaryAttackLockReset",
	tpm2.TPMCCDictionaryAttackParameters: "DictionaryAttackParameters",
	tpm2.TPMCCSelfTest:                   "SelfTest",
	tpm2.TPMCCStartup:                    "Startup",
	tpm2.TPMCCShutdown:                   "Shutdown",
	tpm2.TPMCCStirRandom:                 "StirRandom",
	tpm2.TPMCCActivateCredential:         "ActivateCredential",
	tpm2.TPMCCCertify:                    "Certify",
	tpm2.TPMCCCertifyCreation:            "CertifyCreation",
	tpm2.TPMCCNVRead:                     "NV_Read",
	tpm2.TPMCCObjectChangeAuth:           "ObjectChangeAuth",
	tpm2.TPMCCPolicySecret:               "PolicySecret",
	tpm2.TPMCCCreate:                     "Create",
	tpm2.TPMCCECDHZGen:                   "ECDH_ZGen",
	tpm2.TPMCCMAC:                        "HMAC",
	tpm2.TPMCCImport:                     "Import",
	tpm2.TPMCCLoad:                       "Load",
	tpm2.TPMCCQuote:                      "Quote",
	tpm2.TPMCCRSADecrypt:                 "RSA_Decrypt",
	tpm2.TPMCCMACStart:                   "HMAC_Start",
	tpm2.TPMCCSequenceUpdate:             "SequenceUpdate",
	tpm2.TPMCCSequenceComplete:           "SequenceComplete",
	tpm2.TPMCCSign:                       "Sign",
	tpm2.TPMCCUnseal:                     "Unseal",
	tpm2.TPMCCContextLoad:                "ContextLoad",
	tpm2.TPMCCContextSave:                "ContextSave",
	tpm2.TPMCCFlushContext:               "FlushContext",
	tpm2.TPMCCLoadExternal:               "LoadExternal",
	tpm2.TPMCCMakeCredential:             "MakeCredential",
	tpm2.TPMCCNVReadPublic:               "NV_ReadPublic",
	tpm2.TPMCCReadPublic:                 "ReadPublic",
	tpm2.TPMCCStartAuthSession:           "StartAuthSession",
	tpm2.TPMCCVerifySignature:            "VerifySignature",
	tpm2.TPMCCGetCapability:              "GetCapability",
	tpm2.TPMCCGetRandom:                  "GetRandom",
	tpm2.TPMCCGetTestResult:              "GetTestResult",
	tpm2.TPMCCTestParms:                  "TestParms",
	tpm2.TPMCCCreateLoaded:               "CreateLoaded",
}
