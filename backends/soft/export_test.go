package soft

// WithoutDelay are options without the growing delay after wrong PINs.
func WithoutDelay(o Options) *Options {
	o.noDelay = true
	return &o
}
