package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Open opens the token of the given name, a scheme and parameters separated by
// semicolons (see driver.Open):
//
//	soft:dir=/var/lib/gateway/token
//
// The scheme is that of a backend which the program imports, or one known to
// RegisterModule. Besides the backend's own, every name may have the parameters
//
//	token=LABEL     selects the token, as Options.Token does, which it replaces
//	pin-file=PATH   reads the PIN, as PINFromFile does, in place of Options.PIN
//
// A pkcs11: URI for the token may have a pin-source, which serves if there is no
// other source.
//
// Closing the Token closes everything that Open opened.
func Open(ctx context.Context, name string, opts *Options) (*Token, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	params, err := driver.ParseName(name)
	if err != nil {
		return nil, fail("open", err, "")
	}
	o.Token = params.String("token", o.Token)
	if path := params.String("pin-file", ""); path != "" {
		o.PIN = PINFromFile(path)
	} else if uri, err := pkcs11.ParseURI(o.Token); err == nil && uri.HasPIN() && o.PIN == nil {
		o.PIN = func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) { return uri.PIN() }
	}
	m, err := openModule(ctx, params)
	if err != nil {
		return nil, fail("open", err, "")
	}
	slot, err := selectSlot(ctx, m, o.Token)
	if err == nil {
		var t *Token
		if t, err = NewToken(ctx, m, slot, &o); err == nil {
			t.own = true
			return t, nil
		}
	}
	m.Close()
	return nil, fail(fmt.Sprintf("open %q", name), err, "")
}

// OpenModule opens the module of the given name, as Open does, for programs that
// want Cryptoki itself: sessions, handles, logins. A name of a backend gives the
// core over one token. The parameters token and pin-file are Open's alone. Close
// closes everything that was opened.
func OpenModule(ctx context.Context, name string) (Module, error) {
	params, err := driver.ParseName(name)
	if err != nil {
		return nil, fail("open", err, "")
	}
	m, err := openModule(ctx, params)
	if err != nil {
		return nil, fail(fmt.Sprintf("open %q", name), err, "")
	}
	return m, nil
}

// openModule returns the module over the token, or behind the scheme, of a name.
func openModule(ctx context.Context, params *driver.Params) (Module, error) {
	modules.RLock()
	open := modules.open[params.Scheme]
	modules.RUnlock()
	if open != nil {
		m, err := open(ctx, params)
		if err != nil {
			return nil, err
		}
		if err := params.Unused(); err != nil {
			m.Close()
			return nil, err
		}
		return m, nil
	}
	if err := known(params.Scheme); err != nil {
		return nil, err
	}
	token, err := driver.OpenParams(ctx, params)
	if err != nil {
		return nil, err
	}
	m, err := NewModule(nil, token)
	if err != nil {
		token.Close()
		return nil, err
	}
	return m, nil
}

var modules struct {
	sync.RWMutex
	open map[string]func(context.Context, *driver.Params) (Module, error)
}

// RegisterModule makes a scheme known to Open under which whole modules are
// reached: those in another process, for instance. open asks params for every
// parameter it knows; one that is left over is an error, which Open reports.
// Registering a scheme twice panics.
func RegisterModule(scheme string, open func(ctx context.Context, params *driver.Params) (Module, error)) {
	modules.Lock()
	defer modules.Unlock()
	if modules.open == nil {
		modules.open = map[string]func(context.Context, *driver.Params) (Module, error){}
	}
	if _, dup := modules.open[scheme]; dup || open == nil || slices.Contains(driver.Schemes(), scheme) {
		panic("cryptoki: RegisterModule twice, or without a function: " + scheme)
	}
	modules.open[scheme] = open
}

// Schemes returns the schemes with which the name of a token may begin in this
// program, sorted: of the backends that it imports, and of RegisterModule.
func Schemes() []string {
	all := driver.Schemes()
	modules.RLock()
	defer modules.RUnlock()
	for scheme := range modules.open {
		all = append(all, scheme)
	}
	slices.Sort(all)
	return all
}

// packages are what to import for the schemes of this project.
var packages = map[string]string{
	"soft":           "backends/soft",
	"tpm":            "backends/tpm",
	"atecc608":       "backends/atecc608",
	"unix":           "rpc",
	"p11-kit-remote": "rpc",
}

// known is the error for a scheme that this program does not have.
func known(scheme string) error {
	all := Schemes()
	if slices.Contains(all, scheme) {
		return nil
	}
	list, cure := strings.Join(all, ", "), "import its package to add it"
	if list == "" {
		list = "none"
	}
	if p := packages[scheme]; p != "" {
		cure = fmt.Sprintf("to add it: import _ %q", "github.com/go-cryptoki/cryptoki/"+p)
	}
	return fmt.Errorf("no backend %q in this program (it has: %s); %s", scheme, list, cure)
}

// selectSlot returns the slot of the token with that label, or that a pkcs11:
// URI describes; the only one if want is empty.
func selectSlot(ctx context.Context, m Module, want string) (pkcs11.SlotID, error) {
	slots, err := m.Slots(ctx, true)
	if err != nil {
		return 0, err
	}
	if want == "" && len(slots) == 1 {
		return slots[0], nil
	}
	match := func(pkcs11.SlotID, pkcs11.TokenInfo) bool { return true }
	switch {
	case pkcs11.IsURI(want):
		uri, err := pkcs11.ParseURI(want)
		if err != nil {
			return 0, err
		}
		match = func(id pkcs11.SlotID, info pkcs11.TokenInfo) bool {
			si, err := m.SlotInfo(ctx, id)
			return err == nil && uri.MatchToken(info) && uri.MatchSlot(id, si)
		}
	case want != "":
		match = func(_ pkcs11.SlotID, info pkcs11.TokenInfo) bool { return info.Label == want }
	}
	var found []pkcs11.SlotID
	var labels []string
	for _, id := range slots {
		info, err := m.TokenInfo(ctx, id)
		if err != nil {
			if errors.Is(err, pkcs11.CKR_TOKEN_NOT_PRESENT) || errors.Is(err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED) {
				continue
			}
			return 0, err
		}
		labels = append(labels, fmt.Sprintf("%q", info.Label))
		if match(id, info) {
			found = append(found, id)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(labels) == 0:
		return 0, fmt.Errorf("%w: there is no token in any slot", pkcs11.CKR_TOKEN_NOT_PRESENT)
	case len(found) == 0:
		return 0, fmt.Errorf("%w: there is no token %q; there are %s", pkcs11.CKR_TOKEN_NOT_PRESENT, want, strings.Join(labels, ", "))
	case want == "":
		return 0, fmt.Errorf("%w: there are %d tokens, %s: select one with token=LABEL", pkcs11.CKR_ARGUMENTS_BAD, len(found), strings.Join(labels, ", "))
	}
	return 0, fmt.Errorf("%w: %d tokens are called %q: select one by a pkcs11: URI with its serial number", pkcs11.CKR_ARGUMENTS_BAD, len(found), want)
}
