// Gateway makes a device identity inside a token and connects with it to an MQTT
// broker over mutual TLS, as a gateway does when it is first switched on. The
// private key never leaves the token. Run it again, and it finds the identity
// and connects at once.
//
//	go run -C examples ./gateway
//
// Without --broker it starts a broker of its own on loopback, which demands
// client certificates. Everything it keeps is in one directory, ./gateway-data:
//
//	token/      the software token: keys, certificates, in fileflash
//	user.pin    the user PIN, random, mode 0600: with it, the program starts
//	            unattended. Who can read this file and token/ has the keys.
//	so.pin      the SO PIN, likewise: it sets a new user PIN. On a real gateway
//	            it is kept elsewhere.
//	factory/    what is not on a gateway at all: the example CA and the key that
//	            signs updates.
//	device.csr  the certificate signing request, and
//	device.crt  the certificate: both are public.
//
// To start from nothing again, remove the directory.
//
// # With a broker of your own
//
// A broker trusts factory/root.crt, and the device trusts the CA in --ca. For
// mosquitto that is, with a certificate for broker.example.com in server.crt:
//
//	listener 8883
//	cafile gateway-data/factory/root.crt
//	certfile server.crt
//	keyfile server.key
//	require_certificate true
//	use_identity_as_username true
//
//	go run -C examples ./gateway --broker broker.example.com:8883 --ca server-ca.crt
//
// # In a TPM
//
// With the key in a TPM 2.0, or in swtpm, everything else is the same:
//
//	go run -C examples ./gateway --token 'tpm:device=/dev/tpmrm0;create=true;dir=/var/lib/gateway/tpm'
//
// # On a chip
//
// With the key in an ATECC608, or in a simulated one, everything else is the same:
//
//	chip="atecc608:bus=unix:$PWD/chip.sock;dir=$PWD/chip"
//	go run ./cmd/atecc-sim --blank --listen unix:chip.sock &
//	go run ./cmd/cryptoki -t "$chip" init --config generic --lock
//	go run -C examples ./gateway --token "$chip"
//
// Name a real chip by its bus, as in atecc608:bus=1;dir=/var/lib/gateway/chip. Paths
// are whole ones, since go run -C examples runs the program in that directory.
//
// On port 443 the connection asks for the protocol x-amzn-mqtt-ca (ALPN), as AWS
// IoT Core wants it there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "gateway:", err)
	os.Exit(1)
}

// settings are what the flags say.
type settings struct {
	data     string
	token    string
	pinFile  string
	broker   string
	ca       string
	clientID string
	topic    string
	key      string
	tls      string
	timeout  time.Duration
}

func parse(args []string, out io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("gateway", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&s.data, "data", "gateway-data", "keep everything in `DIR`")
	f.StringVar(&s.token, "token", "", "use the token of that `NAME` (default soft:dir=DIR/token)")
	f.StringVar(&s.token, "t", "", "the same as --token `NAME`")
	f.StringVar(&s.token, "backend", "", "the same as --token `NAME`")
	f.StringVar(&s.pinFile, "pin-file", "", "take the token's user PIN from `FILE` (default DIR/user.pin)")
	f.StringVar(&s.broker, "broker", "", "connect to the broker at `HOST:PORT`, not to one of our own; port 443 asks for AWS IoT's x-amzn-mqtt-ca")
	f.StringVar(&s.ca, "ca", "", "trust the CAs in the PEM `FILE` for the broker (default: the root certificate in the token)")
	f.StringVar(&s.clientID, "client-id", "", "connect as `ID` (default: the name in the device certificate, example-gateway in a new one)")
	f.StringVar(&s.topic, "topic", "", "publish to `TOPIC` (default gateways/ID/hello)")
	f.StringVar(&s.key, "key", "", "make a new identity with a p256 or rsa2048 `KEY` (default p256)")
	f.StringVar(&s.tls, "tls", "1.3", "speak TLS `VERSION` 1.2 or 1.3")
	f.DurationVar(&s.timeout, "timeout", 30*time.Second, "give up to connect after this `TIME`")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, "Gateway makes a device identity in a token and connects with it to an MQTT broker.\n\n")
		f.SetOutput(out)
		f.PrintDefaults()
		return s, err
	} else if err != nil {
		return s, fmt.Errorf("%w; see --help", err)
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("argument %q: there are flags only; see --help", f.Arg(0))
	}
	s.key = strings.ToLower(s.key)
	if _, err := keyKind(s.key); err != nil {
		return s, err
	}
	_, err := tlsVersion(s.tls)
	return s, err
}

func run(ctx context.Context, args []string, out io.Writer) error {
	set, err := parse(args, out)
	if err != nil {
		return err
	}
	if set.data, err = filepath.Abs(set.data); err != nil {
		return err
	}
	fmt.Fprintf(out, "%-12s %s\n", "data", set.data)
	step := &steps{w: out, begin: time.Now()}
	gw, err := openGateway(ctx, set, step)
	if err != nil {
		return err
	}
	defer gw.Close()
	if err := gw.provision(ctx, step); err != nil {
		return err
	}
	if err := gw.greet(ctx, step); err != nil {
		return err
	}
	step.total()
	return nil
}
