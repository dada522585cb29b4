package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// A connection is one to a broker, with what happened on the way.
type connection struct {
	client mqtt.Client
	state  tls.ConnectionState
}

// connect connects to the broker at addr, host:port, as clientID.
func connect(ctx context.Context, addr, clientID string, config *tls.Config) (*connection, error) {
	config, err := clientConfig(addr, config)
	if err != nil {
		return nil, err
	}
	var c connection
	// Called when the broker's certificate has been verified.
	config.VerifyConnection = func(state tls.ConnectionState) error {
		c.state = state
		return nil
	}
	timeout := 30 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	c.client = mqtt.NewClient(mqtt.NewClientOptions().
		AddBroker("tls://" + addr).
		SetClientID(clientID).
		SetProtocolVersion(4).
		SetTLSConfig(config).
		SetDialer(&net.Dialer{Timeout: timeout}).
		SetConnectTimeout(timeout).
		SetAutoReconnect(false))
	if err := wait(ctx, c.client.Connect()); err != nil {
		return nil, fmt.Errorf("broker %s: %w", addr, cause(err))
	}
	return &c, nil
}

// clientConfig completes config for the broker at addr.
func clientConfig(addr string, config *tls.Config) (*tls.Config, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("broker %s: want host:port", addr)
	}
	config = config.Clone()
	config.ServerName = host
	if port == "443" {
		// AWS IoT Core tells MQTT from HTTPS on this port by the protocol's name.
		config.NextProtos = []string{"x-amzn-mqtt-ca"}
	}
	return config, nil
}

// roundTrip publishes a message and waits until the broker has sent it back.
func (c *connection) roundTrip(ctx context.Context, topic string) error {
	message := rand.Text()
	received := make(chan struct{}, 1)
	err := wait(ctx, c.client.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) {
		if string(m.Payload()) == message {
			select {
			case received <- struct{}{}:
			default: // once more, as QoS 1 allows
			}
		}
	}))
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	if err := wait(ctx, c.client.Publish(topic, 1, false, message)); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	select {
	case <-received:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the message published to %s did not come back: %w", topic, context.Cause(ctx))
	}
}

func (c *connection) close() { c.client.Disconnect(250) }

// wait waits for a step of the client.
func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cause returns the cause of a network error without the text before it.
func cause(err error) error {
	var both interface{ Unwrap() []error }
	if errors.As(err, &both) && errors.Is(err, packets.ErrorNetworkError) {
		errs := both.Unwrap()
		return errs[len(errs)-1]
	}
	return err
}
