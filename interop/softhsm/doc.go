// Package softhsm compares the software token with SoftHSM2 in one run: both keep
// their objects on the same disk, and their turns alternate. SoftHSM2 is called
// through cgo, ours through cryptoki.Session, as Go programs do it.
//
//	go test -bench . -benchtime 60x ./softhsm
//
// Each benchmark reports
//
//	ratio       median of SoftHSM2's time / ours, pair by pair: how many times
//	            as fast ours is
//	control     the same of two turns of ours: the noise
//	ours/s      operations a second
//	softhsm/s
//
// SoftHSM2 syncs nothing: what it has created may be gone, or half gone, after a
// power cut. Each of our operations is durable when it returns.
package softhsm
