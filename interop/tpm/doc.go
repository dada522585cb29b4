// Package tpm compares the TPM token with tpm2-pkcs11 and with smallstep's tpmkms,
// in one run: all sign with P-256 keys of their own, and their turns alternate. Ours
// and tpm2-pkcs11 are loaded into this process; tpmkms, with -tpmkms, is downloaded,
// compiled, and runs in its own.
//
//	go test -run - -bench . -benchtime 60x ./tpm -tpmkms
//
// BenchmarkResourceManager has one swtpm for all, behind what /dev/tpmrm0 does: each
// has handles of its own, and everything of it is swapped for every command.
// BenchmarkBare has an swtpm for each, all of the same kind: it has three slots for
// objects, and tpm2-pkcs11 takes them all.
//
// The ways to the TPM are those that each side has for an swtpm on a socket. Ours
// keeps the connection; the other two make one for each command.
//
// Reported are the median time of a signature, the TPM commands in it, and
//
//	tpm2-pkcs11/ours    median of tpm2-pkcs11's time / ours, pair by pair: how
//	tpmkms/ours         many times as fast ours is
//	control             the same of two turns of ours: the noise
package tpm
