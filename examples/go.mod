module github.com/go-cryptoki/cryptoki/examples

go 1.25.0

replace github.com/go-cryptoki/cryptoki => ../

require (
	github.com/eclipse/paho.mqtt.golang v1.5.1
	github.com/go-cryptoki/cryptoki v0.0.0
	github.com/mochi-mqtt/server/v2 v2.7.9
)

require (
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	github.com/rs/xid v1.4.0 // indirect
	golang.org/x/crypto v0.53.0 // indirect
	golang.org/x/net v0.55.0 // indirect
	golang.org/x/sync v0.17.0 // indirect
	golang.org/x/sys v0.46.0 // indirect
	periph.io/x/conn/v3 v3.7.2 // indirect
	periph.io/x/host/v3 v3.8.5 // indirect
)
