// Package bench measures cryptoki serve beside its peers, in one run: what a C
// program waits for through p11-kit-client.so, beside p11-kit's own server in front
// of SoftHSM2, and SoftHSM2 loaded into the program. Their turns alternate, and a
// ratio is the median over pairs of turns; with the metric control it is that of
// our turns with themselves, the noise.
//
//	go test -run - -bench . -benchtime 60x ./bench
//
// An operation of BenchmarkCall and BenchmarkSign is a pair of turns, of 200 calls
// each; one of BenchmarkList is a pair of runs of pkcs11-tool. The others do their
// work once, however many operations they are asked for.
package bench
