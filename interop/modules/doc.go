// Package modules judges the modules of others by the conformance suite, beside our
// backends. The result is docs/modules.md, which
//
//	go test ./modules -update
//
// in interop writes, out of complete runs. Without -update, the differences to the
// standard that the page names must show again, and the page must be in step with
// the lists of outcomes that the backends commit.
package modules
