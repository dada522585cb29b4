module github.com/go-cryptoki/cryptoki/interop

go 1.25.0

replace github.com/go-cryptoki/cryptoki => ../

require (
	github.com/go-cryptoki/cryptoki v0.0.0
	github.com/miekg/pkcs11 v1.1.2
)

require (
	golang.org/x/crypto v0.53.0 // indirect
	golang.org/x/sys v0.46.0 // indirect
)
