package tpm

// Cheap makes PINs cost little.
func Cheap(o Options) *Options {
	o.Iterations = 1
	o.Simulated = true
	return &o
}
