package conformance

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// stuck is a module that never answers the second time.
type stuck struct {
	cryptoki.Module
	n       int
	forever chan struct{}
}

func (s *stuck) Slots(context.Context, bool) ([]pkcs11.SlotID, error) { return []pkcs11.SlotID{1}, nil }
func (s *stuck) Info(context.Context) (pkcs11.Info, error)            { return pkcs11.Info{}, nil }
func (s *stuck) TokenInfo(context.Context, pkcs11.SlotID) (pkcs11.TokenInfo, error) {
	return pkcs11.TokenInfo{Flags: pkcs11.CKF_TOKEN_INITIALIZED}, nil
}
func (s *stuck) Mechanisms(context.Context, pkcs11.SlotID) ([]pkcs11.MechanismType, error) {
	return nil, nil
}
func (s *stuck) OpenSession(context.Context, pkcs11.SlotID, pkcs11.SessionFlags) (cryptoki.Session, error) {
	if s.n++; s.n > 1 {
		<-s.forever
	}
	return idle{}, nil
}
func (s *stuck) CloseAllSessions(context.Context, pkcs11.SlotID) error { return nil }

type idle struct{ cryptoki.Session }

func (idle) Close() error                                { return nil }
func (idle) SessionCancel(context.Context, uint64) error { return nil }
func (idle) CreateObject(context.Context, pkcs11.Template) (pkcs11.ObjectHandle, error) {
	return 0, pkcs11.CKR_FUNCTION_NOT_SUPPORTED
}
func (idle) FindObjectsInit(context.Context, pkcs11.Template) error { return nil }
func (idle) FindObjects(context.Context, []pkcs11.ObjectHandle) (int, error) {
	return 0, nil
}
func (idle) FindObjectsFinal(context.Context) error { return nil }

// A case that does not come back fails, and so do those that would have to wait
// for it; the suite ends.
func TestHangingModule(t *testing.T) {
	was := grace
	grace = 10 * time.Millisecond
	defer func() { grace = was }()
	s := &stuck{forever: make(chan struct{})}
	defer close(s.forever)
	report, err := Check(t.Context(), Target{OpenModule: func(context.Context) (cryptoki.Module, error) { return s, nil }, Deadline: 50 * time.Millisecond},
		&CheckOptions{Select: func(c Case) bool { return c.Family == "session" }})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range report.Results {
		if r.Outcome == Skip {
			continue
		}
		want := "has not come back"
		if i == 0 {
			want = "no end after"
		}
		if r.Outcome != Fail || !strings.Contains(r.Failures[0].What, want) {
			t.Errorf("%s: %s %v; want %q", r.ID, r.Outcome, r.Failures, want)
		}
	}
}
