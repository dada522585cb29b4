package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
)

// A line is a transfer as JSON.
type line struct {
	Seconds float64 `json:"seconds"` // since the first transfer
	Address uint16  `json:"address"`
	Write   string  `json:"write,omitempty"` // hexadecimal
	Read    string  `json:"read,omitempty"`
	Result  string  `json:"result"`            // ack, nack or error
	Command string  `json:"command,omitempty"` // that the transfer completes, or whose answer it begins
	Note    string  `json:"note,omitempty"`

	Faults []ateccsim.FaultKind `json:"faults,omitempty"` // that happened on purpose
}

func writeJSON(w io.Writer, e ateccsim.Event, at time.Duration) {
	l := line{
		Seconds: at.Seconds(), Address: e.Addr, Write: hex.EncodeToString(e.Write), Result: "ack",
		Command: e.Command, Note: e.Note, Faults: e.Faults,
	}
	switch {
	case errors.Is(e.Err, ateccsim.ErrNACK):
		l.Result = "nack"
	case e.Err != nil:
		l.Result = "error"
	default:
		l.Read = hex.EncodeToString(e.Read)
	}
	_ = json.NewEncoder(w).Encode(l) // a trace that nobody reads stops no chip
}
