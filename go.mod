module github.com/go-cryptoki/cryptoki

go 1.25
