//go:build !unix || solaris || aix

package pal

const modesMatter = false

// lockFile does not lock: one process at a time uses a seed there.
func lockFile(path string) (release func(), err error) { return func() {}, nil }

// syncDir has nothing to do where directories cannot be synced.
func syncDir(file string) error { return nil }
