package driver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An OpenFunc opens the token that params describe. It asks params for every
// parameter it knows; one that is left over is an error, which the caller of
// Open reports and for which it closes the token again.
type OpenFunc func(ctx context.Context, params *Params) (Token, error)

var registry struct {
	sync.RWMutex
	open map[string]OpenFunc
}

// Register makes a backend known under the scheme of its token names, "soft"
// for instance. A backend registers in an init function, as a database driver
// does. Registering a scheme twice panics.
func Register(scheme string, open OpenFunc) {
	registry.Lock()
	defer registry.Unlock()
	if registry.open == nil {
		registry.open = make(map[string]OpenFunc)
	}
	if _, dup := registry.open[scheme]; dup || open == nil {
		panic("driver: Register twice, or without a function: " + scheme)
	}
	registry.open[scheme] = open
}

// Schemes returns the registered schemes, sorted.
func Schemes() []string {
	registry.RLock()
	defer registry.RUnlock()
	var s []string
	for scheme := range registry.open {
		s = append(s, scheme)
	}
	slices.Sort(s)
	return s
}

// Open opens the token of the given name: a scheme, a colon, and parameters
// separated by semicolons, as in
//
//	soft:dir=/var/lib/gateway/token
//
// In a value, %3B is a semicolon and %25 a percent sign.
func Open(ctx context.Context, name string) (Token, error) {
	params, err := ParseName(name)
	if err != nil {
		return nil, err
	}
	return OpenParams(ctx, params)
}

// OpenParams is Open for a name that is parsed already. The parameters that the
// caller has taken out of params are the caller's own: the backend neither sees
// them nor complains about them.
func OpenParams(ctx context.Context, params *Params) (Token, error) {
	registry.RLock()
	open := registry.open[params.Scheme]
	registry.RUnlock()
	if open == nil {
		known := strings.Join(Schemes(), ", ")
		if known == "" {
			known = "none"
		}
		return nil, fmt.Errorf("token name %q: no backend %q in this program (it has: %s); import its package to add it", params.name, params.Scheme, known)
	}
	token, err := open(ctx, params)
	if err != nil {
		return nil, err
	}
	if err := params.Unused(); err != nil {
		token.Close()
		return nil, err
	}
	return token, nil
}

// Params are the parts of a token name. A backend takes each parameter that it
// knows with String, Bool or Int.
type Params struct {
	Scheme string
	name   string
	values map[string]string
	used   map[string]bool
	err    error
}

// ParseName splits a token name. It does not know which parameters exist.
func ParseName(name string) (*Params, error) {
	scheme, rest, ok := strings.Cut(name, ":")
	if !ok || scheme == "" {
		return nil, fmt.Errorf("token name %q: want scheme:key=value;…, such as soft:dir=/var/lib/gateway/token", name)
	}
	p := &Params{Scheme: scheme, name: name, values: map[string]string{}, used: map[string]bool{}}
	if rest == "" {
		return p, nil
	}
	for part := range strings.SplitSeq(rest, ";") {
		if part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("token name %q: %q is not key=value", name, part)
		}
		if _, dup := p.values[key]; dup {
			return nil, fmt.Errorf("token name %q: parameter %q is given twice", name, key)
		}
		value, err := unescape(value)
		if err != nil {
			return nil, fmt.Errorf("token name %q: parameter %q: %v", name, key, err)
		}
		p.values[key] = value
	}
	return p, nil
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", fmt.Errorf("%% needs two hexadecimal digits; write %%25 for a percent sign")
		}
		v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil || v == 0 {
			return "", fmt.Errorf("%% needs two hexadecimal digits; write %%25 for a percent sign")
		}
		b.WriteByte(byte(v))
		i += 2
	}
	return b.String(), nil
}

// String returns the value of a parameter, def if it is not given.
func (p *Params) String(key, def string) string {
	p.used[key] = true
	if v, ok := p.values[key]; ok {
		return v
	}
	return def
}

// Bool returns the value of a parameter that is a truth value: true, false, 1,
// 0. Another word is reported by Unused.
func (p *Params) Bool(key string, def bool) bool {
	s := p.String(key, "")
	if s == "" {
		return def
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		p.fail(fmt.Errorf("token name %q: parameter %s is true or false, not %q", p.name, key, s))
	}
	return v
}

// Int returns the value of a parameter that is a number between lo and hi, also
// written 0x…. Anything else is reported by Unused.
func (p *Params) Int(key string, def, lo, hi int) int {
	s := p.String(key, "")
	if s == "" {
		return def
	}
	v, err := strconv.ParseInt(s, 0, 0)
	if err != nil || int(v) < lo || int(v) > hi {
		p.fail(fmt.Errorf("token name %q: parameter %s is a number from %d to %d, not %q", p.name, key, lo, hi, s))
		return def
	}
	return int(v)
}

func (p *Params) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// Unused returns an error that names the first parameter that is malformed, or
// that nobody asked for together with those that are known. A backend may call
// it before it opens anything.
func (p *Params) Unused() error {
	if p.err != nil {
		return p.err
	}
	var unknown, known []string
	for key := range p.values {
		if !p.used[key] {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	for key := range p.used {
		known = append(known, key)
	}
	slices.Sort(unknown)
	slices.Sort(known)
	return fmt.Errorf("token name %q: unknown parameter %q; %s takes %s", p.name, unknown[0], p.Scheme, strings.Join(known, ", "))
}
