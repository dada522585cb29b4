package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/go-cryptoki/cryptoki"
)

// greet connects to the broker as the identity in the token, publishes a message
// and receives it.
func (gw *gateway) greet(ctx context.Context, step *steps) error {
	var cert tls.Certificate
	err := step.do("TLS key", func() (_ string, err error) {
		cert, err = gw.token.TLSCertificate(ctx, cryptoki.DeviceCert, cryptoki.DevicePrivateKey)
		return fmt.Sprintf("%q, with a chain of %d certificates", cryptoki.DevicePrivateKey, len(cert.Certificate)), err
	})
	if err != nil {
		return err
	}
	version, err := tlsVersion(gw.set.tls)
	if err != nil {
		return err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   version,
		MaxVersion:   version,
	}
	if config.RootCAs, err = gw.trusted(ctx); err != nil {
		return err
	}
	addr := gw.set.broker
	if addr == "" {
		err := step.do("broker", func() (string, error) {
			cert, err := gw.factory.ServerCertificate("127.0.0.1")
			if err != nil {
				return "", err
			}
			local, stop, err := startBroker(cert, gw.factory.Pool())
			if err != nil {
				return "", err
			}
			gw.stopBroker = stop
			addr = local
			return "our own on " + addr + ", demands client certificates", nil
		})
		if err != nil {
			return err
		}
	}
	clientID := gw.set.clientID
	if clientID == "" {
		clientID = cert.Leaf.Subject.CommonName
	}
	topic := gw.set.topic
	if topic == "" {
		topic = "gateways/" + clientID + "/hello"
	}
	ctx, cancel := context.WithTimeoutCause(ctx, gw.set.timeout, fmt.Errorf("no answer within %v", gw.set.timeout))
	defer cancel()
	var conn *connection
	err = step.do("connect", func() (string, error) {
		if conn, err = connect(ctx, addr, clientID, config); err != nil {
			return "", explain(err)
		}
		what := fmt.Sprintf("%s as %q, %s", addr, clientID, tls.VersionName(conn.state.Version))
		if p := conn.state.NegotiatedProtocol; p != "" {
			what += ", " + p
		}
		return what, nil
	})
	if err != nil {
		return err
	}
	defer conn.close()
	return step.do("message", func() (string, error) {
		return "published to " + topic + " and received", conn.roundTrip(ctx, topic)
	})
}

// trusted returns the CAs that the broker's certificate is verified with.
func (gw *gateway) trusted(ctx context.Context) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if gw.set.ca == "" {
		root, err := gw.token.Certificate(ctx, cryptoki.RootCert)
		if err != nil {
			return nil, err
		}
		pool.AddCert(root)
		return pool, nil
	}
	pem, err := os.ReadFile(gw.set.ca)
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it; want PEM, with -----BEGIN CERTIFICATE-----", gw.set.ca)
	}
	return pool, nil
}

// The alerts that a broker refuses a client certificate with. RFC 8446 §6.
const (
	alertHandshakeFailure    tls.AlertError = 40 // TLS 1.2, no certificate
	alertBadCertificate      tls.AlertError = 42
	alertCertificateUnknown  tls.AlertError = 46
	alertUnknownCA           tls.AlertError = 48
	alertCertificateRequired tls.AlertError = 116
)

// explain adds to an error of TLS what to do about it.
func explain(err error) error {
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w; give the CA of the broker's certificate with --ca FILE", err)
	case errors.As(err, &alert):
		switch alert {
		case alertUnknownCA, alertCertificateUnknown, alertBadCertificate:
			return fmt.Errorf("%w; the broker does not trust the device certificate: give it factory/root.crt as CA", err)
		case alertCertificateRequired, alertHandshakeFailure:
			return fmt.Errorf("%w; the broker wants another certificate than the one in the token", err)
		}
	}
	return err
}

func tlsVersion(s string) (uint16, error) {
	switch s {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("--tls %s: want 1.2 or 1.3", s)
}
