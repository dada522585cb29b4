package wycheproof

import (
	"math/bits"
	"strings"
)

// slow says that the arithmetic of large numbers takes many times as long as
// usual: on 32 bits, and with the race detector. Only a part of the files is gone
// through then; that all are is for the ordinary run.
var slow = bits.UintSize == 32 || raceDetector

// tooSlow are the files that are left out then.
func tooSlow(name string) bool {
	if strings.HasPrefix(name, "rsa_") {
		return !strings.HasPrefix(name, "rsa_oaep_2048_sha256") && !strings.HasPrefix(name, "rsa_signature_2048_sha256") && !strings.HasPrefix(name, "rsa_pss_2048_sha256_mgf1_")
	}
	return strings.Contains(name, "secp384") || strings.Contains(name, "secp521")
}
