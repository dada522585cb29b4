package driver

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDiagnose(t *testing.T) {
	Register("diagnosed", func(context.Context, *Params) (Token, error) { return nil, errors.New("never opened") })
	RegisterDiagnosis("diagnosed", func(_ context.Context, p *Params) ([]Finding, error) {
		return []Finding{{Good, "bus", "bus " + p.String("bus", "1"), ""}}, nil
	})
	found, err := Diagnose(t.Context(), "diagnosed:bus=2")
	require.NoError(t, err)
	require.Equal(t, []Finding{{Good, "bus", "bus 2", ""}}, found)

	_, err = Diagnose(t.Context(), "diagnosed:speed=2")
	require.ErrorContains(t, err, `unknown parameter "speed"`)

	require.Panics(t, func() { RegisterDiagnosis("diagnosed", nil) })
}

func TestDiagnoseByOpening(t *testing.T) {
	Register("plain", func(context.Context, *Params) (Token, error) { return nil, errors.New("plain: nobody home") })
	found, err := Diagnose(t.Context(), "plain:")
	require.NoError(t, err)
	require.Equal(t, []Finding{{Problem, "open", "plain: nobody home", "see the message"}}, found)
}
