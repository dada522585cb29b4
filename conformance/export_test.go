package conformance

// Updating reports whether the test is to write its files.
func Updating() bool { return *update }
