package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Case is one case of the suite: data, and a function.
type Case struct {
	ID        string   // short and lasting: "FIT-23"
	Family    string   // "fit", "sign", …
	Name      string   // one sentence: what must hold
	Clause    string   // where the standard, or the reference, says so
	Ancestors []string // where the case comes from: "FIT PKCS11_EC_Sign", "R-08"

	needs  []need
	serial bool // it wants the module for itself, with nobody logged in
	run    func(*T)
}

// Needs returns what the case needs, in words.
func (c Case) Needs() []string {
	var s []string
	for _, n := range c.needs {
		if !slices.Contains(s, n.what) {
			s = append(s, n.what)
		}
	}
	return s
}

// Cases returns the suite, in the order in which it runs.
func Cases() []Case { return slices.Concat(families...) }

// families are the cases by family. A family's cases are next to each other.
var families = [][]Case{
	fitCases(), mbtCases(), moduleCases(), tokenCases(), sessionCases(), loginCases(), objectCases(), attributeCases(), findCases(), digestCases(), signCases(), verifyCases(), randomCases(), secretCases(), cryptCases(), manageCases(), codeCases(), storyCases(),
}

// missing returns why the case cannot run on the token, "" if it can.
func (c *Case) missing(e *env) string {
	for _, n := range c.needs {
		if !n.met(e) {
			return n.without
		}
	}
	return ""
}

// A need is something that a token may lack by its own declaration.
type need struct {
	what    string // "CKM_ECDSA with CKF_SIGN"
	without string // "the mechanism table has no CKM_ECDSA with CKF_SIGN"
	met     func(*env) bool
}

func needs(n ...any) []need {
	var all []need
	for _, n := range n {
		switch n := n.(type) {
		case need:
			all = append(all, n)
		case []need:
			all = append(all, n...)
		}
	}
	return all
}

// row needs a row of the mechanism table with all of the flags, and a range of
// key sizes that includes bits, unless that is 0.
func row(m pkcs11.MechanismType, flags uint64, bits uint64) need {
	what := m.String() + " with " + flagNames(flags)
	if bits != 0 {
		what += fmt.Sprintf(" for %d", bits)
	}
	return need{what, "the mechanism table has no " + what, func(e *env) bool { return e.has(m, flags, bits) }}
}

func profile(name string, on func(Profile) bool) need {
	return need{"profile " + name, "the profile does not have " + name, func(e *env) bool { return on(e.profile) }}
}

func ability(what, without string, on func(*env) bool) need { return need{what, without, on} }

var (
	wantsRSA      = profile("RSA", func(p Profile) bool { return p.RSA })
	wantsEC       = profile("EC", func(p Profile) bool { return p.EC })
	wantsImport   = profile("Import", func(p Profile) bool { return p.Import })
	wantsGenerate = profile("Generate", func(p Profile) bool { return p.Generate })
	wantsJITP     = profile("JITP", func(p Profile) bool { return p.JITP })
	// wantsFresh is for cases that replace or destroy the credentials.
	wantsFresh = need{"profile without Preprovisioned", "the profile has Preprovisioned", func(e *env) bool { return !e.profile.Preprovisioned }}
	// wantsKeys is for cases that need some private key of the suite's own.
	wantsKeys = need{"profile Import or Generate", "the profile has neither Import nor Generate", func(e *env) bool { return e.profile.Import || e.profile.Generate }}

	wantsCreate  = ability("CreateObject", "the token creates no objects (driver.Creator)", func(e *env) bool { return e.can.create })
	wantsDestroy = ability("DestroyObject", "the token destroys no objects (driver.Destroyer)", func(e *env) bool { return e.can.destroy })
	wantsUpdate  = ability("SetAttributeValue", "the token changes no objects (driver.Updater)", func(e *env) bool { return e.can.update })
	wantsCopy    = ability("CopyObject", "the token copies no objects (driver.Copier)", func(e *env) bool { return e.can.copy })
	wantsRandom  = ability("CKF_RNG", "the token has no generator (CKF_RNG)", func(e *env) bool { return e.can.random })
	wantsLogin   = ability("CKF_LOGIN_REQUIRED", "the token has no PIN (CKF_LOGIN_REQUIRED)", func(e *env) bool { return e.can.login })
	wantsSetPIN  = ability("SetPIN", "the token changes no PINs (driver.PINSetter)", func(e *env) bool { return e.can.setPIN })
	wantsSO      = need{"target without NoSO", "the target has NoSO", func(e *env) bool { return !e.target.NoSO }}
	wantsInit    = ability("InitToken", "the token cannot be initialized (driver.Initializer)", func(e *env) bool { return e.can.initialize })
	wantsCancel  = ability("SessionCancel", "the module has no C_SessionCancel, which came with 3.0", func(e *env) bool { return e.can.cancel })
	// wantsOwned is for cases that change more than objects of the suite.
	wantsOwned = ability("a token of the suite's own", "the token was initialized before, and Destructive is not set", func(e *env) bool { return e.owned })
	// wantsPlaces is for the rule that an object under a well-known label
	// takes the place of the one that is there.
	wantsPlaces = ability("the well-known labels", "the credentials of the tests are under other labels than the well-known ones", func(e *env) bool { return e.labels == placeLabels })

	ecSign  = []need{wantsEC, wantsKeys, row(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 256)}
	rsaSign = []need{wantsRSA, wantsImport, row(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_SIGN, 2048)}
	ecGen   = []need{wantsEC, wantsGenerate, row(pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKF_GENERATE_KEY_PAIR, 256)}
)

var flagTable = []struct {
	flag uint64
	name string
}{
	{pkcs11.CKF_ENCRYPT, "CKF_ENCRYPT"}, {pkcs11.CKF_DECRYPT, "CKF_DECRYPT"}, {pkcs11.CKF_DIGEST, "CKF_DIGEST"},
	{pkcs11.CKF_SIGN, "CKF_SIGN"}, {pkcs11.CKF_VERIFY, "CKF_VERIFY"}, {pkcs11.CKF_GENERATE, "CKF_GENERATE"},
	{pkcs11.CKF_GENERATE_KEY_PAIR, "CKF_GENERATE_KEY_PAIR"}, {pkcs11.CKF_WRAP, "CKF_WRAP"},
	{pkcs11.CKF_UNWRAP, "CKF_UNWRAP"}, {pkcs11.CKF_DERIVE, "CKF_DERIVE"},
}

func flagNames(flags uint64) string {
	var s []string
	for _, f := range flagTable {
		if flags&f.flag != 0 {
			s = append(s, f.name)
		}
	}
	return strings.Join(s, "|")
}
