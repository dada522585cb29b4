//go:build goexperiment.runtimesecret

package soft

import erase "runtime/secret"

// erased calls f, and has the registers, stack and heap that f used erased: the
// heap when the garbage collector finds that it is not used any more. It works on
// linux/amd64 and linux/arm64, and not for goroutines that f starts, such as those
// of Argon2id.
func erased(f func()) { erase.Do(f) }
