module github.com/go-cryptoki/cryptoki/interop

go 1.25.0

replace github.com/go-cryptoki/cryptoki => ../

require (
	github.com/ThalesGroup/crypto11 v1.5.0
	github.com/ThalesIgnite/crypto11 v1.2.5
	github.com/go-cryptoki/cryptoki v0.0.0
	github.com/google/go-tpm v0.9.8
	github.com/miekg/pkcs11 v1.1.2
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/pkg/errors v0.9.1 // indirect
	github.com/thales-e-security/pool v0.0.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.53.0 // indirect
	golang.org/x/sys v0.46.0 // indirect
)
