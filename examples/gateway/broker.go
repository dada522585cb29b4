package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// startBroker starts an MQTT broker on loopback that lets in only who has a
// certificate of clients, under the name that is in it. It returns its address.
func startBroker(cert tls.Certificate, clients *x509.CertPool) (addr string, stop func() error, err error) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("broker: %w", err)
	}
	listener := &connections{Listener: tcp}
	broker := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	err = broker.AddHook(&certificateNames{}, nil)
	if err == nil {
		err = broker.AddListener(listeners.NewNet("tls", tls.NewListener(listener, &tls.Config{
			Certificates: []tls.Certificate{cert},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    clients,
			MinVersion:   tls.VersionTLS12,
		})))
	}
	if err == nil {
		err = broker.Serve()
	}
	if err != nil {
		listener.Close()
		return "", nil, fmt.Errorf("broker: %w", err)
	}
	return listener.Addr().String(), func() error {
		// The broker waits for ever when a client leaves while it closes: it reads its
		// list of clients with a lock that it takes twice. So they leave first.
		err := listener.Close()
		broker.Listeners.ClientsWg.Wait()
		return errors.Join(err, broker.Close())
	}, nil
}

// connections is a listener whose Close also closes what it has accepted.
type connections struct {
	net.Listener
	mu     sync.Mutex
	open   []net.Conn
	closed bool
}

func (c *connections) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed {
			conn.Close()
		}
		c.open = append(c.open, conn)
	}
	return conn, err
}

func (c *connections) Close() error {
	err := c.Listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.open {
		conn.Close() // a second time changes nothing
	}
	return err
}

// certificateNames lets a client connect if its client ID is the name in its
// certificate.
type certificateNames struct{ mqtt.HookBase }

func (certificateNames) ID() string { return "certificate names" }

func (certificateNames) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}

func (certificateNames) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	conn, ok := cl.Net.Conn.(*tls.Conn)
	if !ok {
		return false
	}
	peer := conn.ConnectionState().PeerCertificates
	return len(peer) > 0 && peer[0].Subject.CommonName == pk.Connect.ClientIdentifier
}

// OnACLCheck allows everything: whoever is let in is one of ours.
func (certificateNames) OnACLCheck(*mqtt.Client, string, bool) bool { return true }
