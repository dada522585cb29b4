module github.com/go-cryptoki/cryptoki/examples

go 1.25.0

replace github.com/go-cryptoki/cryptoki => ../

require github.com/go-cryptoki/cryptoki v0.0.0
