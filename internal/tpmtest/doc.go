// Package tpmtest is what tests of code that talks to a TPM stand on: a software
// TPM of their own ([Start]), an imitation of the kernel's resource manager
// ([Manager]), a spy that listens on the bus ([Spy]) and a bus that misbehaves
// ([Faults]).
//
// They all have the one method of go-tpm's transport.TPM and are put on top of
// each other as the test needs them:
//
//	tpm := tpmtest.Start(t)                  // a fresh swtpm
//	bus := tpmtest.NewSpy(tpm)               // every byte on the wire
//	rm := tpmtest.NewManager(bus)            // /dev/tpmrm0
//	faults := tpmtest.NewFaults(rm.Open())   // what one process sees
package tpmtest
