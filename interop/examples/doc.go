// Package examples writes the same small program twice: with crypto11, as many have
// it, and with this module. Both use the same token and find the same keys, so that
// an application can move from one to the other, and back. docs/crypto11.md tells
// what corresponds to what.
package examples
