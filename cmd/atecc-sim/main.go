// Command atecc-sim is a simulated ATECC608 on a socket. See docs/atecc-sim.md.
package main

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"periph.io/x/conn/v3/physic"
)

const usage = `usage: atecc-sim [flags]

Serves a simulated ATECC608 as an I²C bus on a socket.

  --listen ADDR     tcp:HOST:PORT or unix:PATH (default tcp:127.0.0.1:8608)
  --state FILE      keep the chip in FILE; without it, it is forgotten
  --blank           a chip as shipped (the default), if FILE does not exist
  --config NAME     a locked chip, if FILE does not exist: generic, trustflex,
                    trustgo, everything; or a file of 128 bytes in hexadecimal
  --serial HEX      its serial number, 9 bytes beginning 0123
  --timing NAME     instant (default), realistic, half, full
  --speed KHZ       of the bus (default 100; above 133 nothing wakes)
  --faults RULES    such as nack:rate=0.01,power-cut:at=17,seed=4
  --open NAMES      where silicon is not documented, choose the other way:
                    pad-ff,random-first and others
  --trace           print every transfer, decoded
  --json            the same, a JSON object on each line
  --certificates    print the certificates of a trustflex or trustgo chip, the
                    device's first, the test root last, and stop

SIGINT and SIGTERM stop it; the chip in FILE is whole at any time.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintf(os.Stderr, "atecc-sim: %v\n", err)
	os.Exit(1)
}

// settings are the flags.
type settings struct {
	listen, state, config, serial, timing, faults, open string

	blank, trace, json, certificates bool
	khz                              int
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var s settings
	f := flag.NewFlagSet("atecc-sim", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&s.listen, "listen", "tcp:127.0.0.1:8608", "")
	f.StringVar(&s.state, "state", "", "")
	f.StringVar(&s.config, "config", "", "")
	f.StringVar(&s.serial, "serial", "", "")
	f.StringVar(&s.timing, "timing", "instant", "")
	f.StringVar(&s.faults, "faults", "", "")
	f.StringVar(&s.open, "open", "", "")
	f.BoolVar(&s.certificates, "certificates", false, "")
	f.BoolVar(&s.blank, "blank", false, "")
	f.BoolVar(&s.trace, "trace", false, "")
	f.BoolVar(&s.json, "json", false, "")
	f.IntVar(&s.khz, "speed", 100, "")
	f.Usage = func() {}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stdout, usage)
		}
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is no flag: see --help", f.Arg(0))
	}
	if s.blank && s.config != "" {
		return errors.New("--blank and --config are two different chips: give one")
	}
	if s.certificates {
		return s.printCertificates(stdout)
	}
	chip, err := s.chip(stdout, stderr)
	if err != nil {
		return err
	}
	l, err := listen(ctx, s.listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "atecc-sim: chip %x at address %#x on %s\n", chip.State().Serial(), chip.State().Address(), l.Addr())
	return ateccsim.Serve(ctx, l, chip)
}

// printCertificates writes the chain as PEM.
func (s *settings) printCertificates(stdout io.Writer) error {
	state, err := s.load(io.Discard)
	if err != nil {
		return err
	}
	chain, err := state.Chain()
	if err != nil {
		return err
	}
	for _, c := range chain {
		if err := pem.Encode(stdout, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return err
		}
	}
	return nil
}

func (s *settings) chip(stdout, stderr io.Writer) (*ateccsim.Chip, error) {
	timing, ok := map[string]ateccsim.Timing{
		"instant": ateccsim.Instant, "realistic": ateccsim.Realistic, "half": ateccsim.Half, "full": ateccsim.Full,
	}[s.timing]
	if !ok {
		return nil, fmt.Errorf("--timing %s: there are instant, realistic, half and full", s.timing)
	}
	if s.khz <= 0 || s.khz > 1000 {
		return nil, fmt.Errorf("--speed %d: must be 1 to 1000 kHz", s.khz)
	}
	faults, err := ateccsim.ParseFaults(s.faults)
	if err != nil {
		return nil, err
	}
	open, err := ateccsim.ParseQuestions(s.open)
	if err != nil {
		return nil, err
	}
	state, err := s.load(stderr)
	if err != nil {
		return nil, err
	}
	opts := &ateccsim.Options{Timing: timing, Speed: physic.Frequency(s.khz) * physic.KiloHertz, Faults: faults, Open: open}
	if s.state != "" {
		opts.Save = func(st *ateccsim.State) error { return st.SaveFile(s.state) }
	}
	if s.trace || s.json {
		opts.Trace = tracer(stdout, s.json)
	}
	return ateccsim.New(state, opts)
}

// load reads the state file, or makes a chip and the file.
func (s *settings) load(stderr io.Writer) (*ateccsim.State, error) {
	if s.state != "" {
		state, err := ateccsim.LoadFile(s.state)
		if err == nil && (s.blank || s.config != "" || s.serial != "") {
			fmt.Fprintf(stderr, "atecc-sim: the chip in %s is used: --blank, --config and --serial are for a new one\n", s.state)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return state, err
		}
	}
	state, err := s.make()
	if err == nil && s.state != "" {
		err = state.SaveFile(s.state)
	}
	return state, err
}

func (s *settings) make() (*ateccsim.State, error) {
	serial := ateccsim.DefaultSerial
	if s.serial != "" {
		b, err := hex.DecodeString(s.serial)
		if err != nil || len(b) != len(serial) || b[0] != 0x01 || b[1] != 0x23 {
			return nil, fmt.Errorf("--serial %s: must be 18 hexadecimal digits that begin with 0123", s.serial)
		}
		copy(serial[:], b)
	}
	switch s.config {
	case "", "blank":
		return ateccsim.Blank(serial), nil
	case "generic":
		return ateccsim.Generic(serial, nil)
	case "trustflex":
		return ateccsim.TrustFLEX(serial, nil)
	case "trustgo":
		return ateccsim.TrustGO(serial, nil)
	case "everything":
		return ateccsim.Everything(serial, nil)
	}
	text, err := os.ReadFile(s.config)
	if err != nil {
		return nil, fmt.Errorf("--config: there are generic, trustflex, trustgo, everything, or a file: %w", err)
	}
	var config [ateccsim.ConfigSize]byte
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil || copy(config[:], b) != len(config) || len(b) != len(config) {
		return nil, fmt.Errorf("--config %s: must be %d bytes in hexadecimal", s.config, len(config))
	}
	if s.serial != "" {
		copy(config[:4], serial[:4])
		copy(config[8:13], serial[4:])
	}
	return ateccsim.Configured(config)
}

// listen opens the socket; one of Unix that nobody answers any more is replaced.
func listen(ctx context.Context, at string) (net.Listener, error) {
	network, address, ok := strings.Cut(at, ":")
	if !ok || network != "tcp" && network != "unix" {
		return nil, fmt.Errorf("--listen %s: must be tcp:HOST:PORT or unix:PATH", at)
	}
	if network == "unix" {
		if bus, err := ateccsim.Dial(ctx, network, address); err == nil {
			_ = bus.Close()
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(address)
		}
	}
	var c net.ListenConfig
	l, err := c.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", at, err)
	}
	return l, nil
}

// tracer prints transfers with the time since the first.
func tracer(w io.Writer, asJSON bool) func(ateccsim.Event) {
	var start time.Time
	return func(e ateccsim.Event) {
		if start.IsZero() {
			start = e.Time
		}
		if asJSON {
			writeJSON(w, e, e.Time.Sub(start))
			return
		}
		fmt.Fprintf(w, "%12.6f %v\n", e.Time.Sub(start).Seconds(), e)
	}
}
