// Package wycheproof has nothing but tests: the vectors of C2SP Wycheproof, and
// known answers of NIST and the IETF where Wycheproof has none, go through the
// methods of a cryptoki.Session over the software token. What is valid has to be
// accepted, what is invalid refused with a code that the standard has for it.
// What the vectors call acceptable is decided flag by flag in policy_test.go,
// beside the list of what is expected otherwise, with the reasons.
// testdata/outcomes.txt says how many vectors of each file came to what; a
// change shows in review.
//
//	go test .
//	go test . -args -update   # rewrite testdata/outcomes.txt
//
// It is a module of its own so that nobody who uses the SDK downloads the
// vectors.
package wycheproof
