//go:build linux && !386 && !race

package clients

import (
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/need"
)

// A program is one that a row runs, or the path of a file that it wants, and the
// package it is in.
type program struct{ command, install string }

func (p program) need(t *testing.T) {
	t.Helper()
	if strings.HasPrefix(p.command, "/") {
		need.File(t, p.install, p.command)
	} else {
		need.Program(t, p.command, p.install)
	}
}

var (
	pkcs11Tool = program{"pkcs11-tool", "opensc"}
	p11tool    = program{"p11tool", "gnutls-bin"}
	gnutlsCLI  = program{"gnutls-cli", "gnutls-bin"}
	openssl    = program{"openssl", "openssl"}
	engine     = program{"/usr/lib/*/engines-3/pkcs11.so", "libengine-pkcs11-openssl"}
	curl       = program{"curl", "curl"}
	ssh        = program{"ssh-keygen", "openssh-client"}
	sshd       = program{"sshd", "openssh-server"}
	nss        = program{"certutil", "libnss3-tools"}
	java       = program{"keytool", "openjdk-17-jdk-headless"}
	nginx      = program{"nginx", "nginx-light"}
	mosquitto  = program{"mosquitto", "mosquitto"}
	mosqPub    = program{"mosquitto_pub", "mosquitto-clients"}
)

// A row is something that people do with a program. Its script runs in an empty
// directory of its own, and its exit status says whether it worked.
//
// $MODULE is the library, $LABEL, $PIN and $SOPIN are the token's. The token has a
// P-256 key with the id 10 and the label device, and a certificate for it from
// $CA/ca.pem; $DEVICE has that certificate in device.pem, and the public key in
// device.pub. $PORT is free.
type row struct {
	client, name string
	programs     []program
	needs        []string // what a token must be able to do
	script       string
}

const prelude = `
p11() { pkcs11-tool --module "$MODULE" --token-label "$LABEL" "$@"; }
user() { p11 --login --pin "$PIN" "$@"; }
URI="pkcs11:token=$LABEL"
KEY="$URI;object=device;type=private?pin-value=$PIN"
cat > openssl.cnf <<END
openssl_conf = init
[init]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
dynamic_path = $LIBS/engines-3/pkcs11.so
MODULE_PATH = $MODULE
init = 0
[req]
distinguished_name = dn
[dn]
END
export OPENSSL_CONF=/dev/null
# engine runs a program with OpenSSL's engine for the module.
engine() { OPENSSL_CONF=$PWD/openssl.cnf "$@"; }
# up waits for a server on $PORT.
up() { for i in $(seq 1200); do (exec 3<>/dev/tcp/127.0.0.1/$PORT) 2>/dev/null && return; sleep 0.05; done; echo "nobody listens"; return 1; }
# mutual starts a TLS server that wants a certificate of the CA.
mutual() {
	openssl s_server -www -accept 127.0.0.1:$PORT -cert "$CA/server.pem" -key "$CA/server.key" \
		-CAfile "$CA/ca.pem" -Verify 1 -verify_return_error "$@" > server.log 2>&1 &
	trap "kill $! 2>/dev/null" EXIT
	up
}
`

var rows = []row{
	{client: "pkcs11-tool", name: "list", programs: []program{pkcs11Tool}, script: `
p11 -L > tokens
grep -q "$LABEL" tokens
user -O > objects
grep -q "Private Key Object; EC" objects
grep -q "Certificate Object" objects
p11 -M > mechanisms
grep -q "ECDSA" mechanisms
`},
	{client: "pkcs11-tool", name: "generate EC", programs: []program{pkcs11Tool}, needs: []string{"generate"}, script: `
user --keypairgen --key-type EC:prime256v1 --label made --id 21
user -O --id 21 > objects
grep -q "Private Key Object; EC" objects
user --delete-object --type privkey --id 21
user --delete-object --type pubkey --id 21
`},
	{client: "pkcs11-tool", name: "generate RSA", programs: []program{pkcs11Tool}, needs: []string{"RSA"}, script: `
user --keypairgen --key-type rsa:2048 --label rsa --id 22
echo hello > text
user --sign --mechanism SHA256-RSA-PKCS --id 22 --input-file text --output-file sig
p11 --read-object --type pubkey --id 22 --output-file pub
openssl dgst -sha256 -verify pub -keyform DER -signature sig text
user --delete-object --type privkey --id 22
user --delete-object --type pubkey --id 22
`},
	{client: "pkcs11-tool", name: "write and read objects", programs: []program{pkcs11Tool}, script: `
openssl x509 -in "$CA/server.pem" -outform DER -out cert.der
user --write-object cert.der --type cert --label "a server" --id 23
p11 --read-object --type cert --id 23 --output-file back.der
cmp cert.der back.der
user --delete-object --type cert --id 23
`},
	{client: "pkcs11-tool", name: "write and read data", programs: []program{pkcs11Tool}, needs: []string{"data"}, script: `
echo some data > data
user --write-object data --type data --label note
user --read-object --type data --label note --output-file back
cmp data back
user --delete-object --type data --label note
`},
	{client: "pkcs11-tool", name: "import EC key", programs: []program{pkcs11Tool}, needs: []string{"import"}, script: `
openssl ecparam -name prime256v1 -genkey -noout -outform DER -out key.der
user --write-object key.der --type privkey --label imported --id 24 --usage-sign
user -O --type privkey --id 24 > objects
grep -q imported objects
user --delete-object --type privkey --id 24
`},
	{client: "pkcs11-tool", name: "sign and verify", programs: []program{pkcs11Tool}, script: `
echo hello > text
openssl dgst -sha256 -binary text > digest
user --sign --mechanism ECDSA --id 10 --input-file digest --output-file sig --signature-format openssl
openssl pkeyutl -verify -pubin -inkey "$DEVICE/device.pub" -keyform DER -in digest -sigfile sig
user --sign --mechanism ECDSA --id 10 --input-file digest --output-file raw
user --verify --mechanism ECDSA --id 10 --input-file digest --signature-file raw
`},
	{client: "pkcs11-tool", name: "derive", programs: []program{pkcs11Tool}, needs: []string{"derive"}, script: `
openssl ecparam -name prime256v1 -genkey -noout -out peer.pem
openssl ec -in peer.pem -pubout -outform DER -out peer.der
user --derive --mechanism ECDH1-DERIVE --id 10 --input-file peer.der --output-file secret
openssl pkey -pubin -inform DER -in "$DEVICE/device.pub" -out device.pem
openssl pkeyutl -derive -inkey peer.pem -peerkey device.pem -out secret2
cmp secret secret2
`},
	{client: "pkcs11-tool", name: "--test", programs: []program{pkcs11Tool}, script: `
user --test > out 2>&1 || { cat out; exit 1; }
cat out
grep -q "^No errors" out
`},
	{client: "pkcs11-tool", name: "--test-ec", programs: []program{pkcs11Tool}, needs: []string{"generate", "label"}, script: `
user --session-rw --test-ec --key-type EC:prime256v1 --id 25 --label testec > out 2>&1 || { cat out; exit 1; }
cat out
grep -q "==> OK" out
`},
	{client: "pkcs11-tool", name: "--test-threads", programs: []program{pkcs11Tool}, needs: []string{"threads"}, script: `
p11 --test-threads ILGISL --test-threads ILGISL --test-threads ILGISL > out 2>&1 || { cat out; exit 1; }
cat out
grep -q "all threads have ended with CKR_OK" out
`},
	{client: "pkcs11-tool", name: "--test-fork", programs: []program{pkcs11Tool}, script: `
p11 --test-fork > out 2>&1
cat out
grep -q "Calling C_Initialize in forked child" out
! grep -qi "failed\|error" out
`},

	{client: "p11tool", name: "list", programs: []program{p11tool}, script: `
export GNUTLS_PIN=$PIN
p11tool --provider "$MODULE" --list-tokens > tokens
grep -q "Label: $LABEL" tokens
p11tool --provider "$MODULE" --login --list-all "$URI" > out
grep -q "Type: Private key" out
grep -q "Type: X.509 Certificate" out
p11tool --provider "$MODULE" --list-mechanisms "$URI" > mechanisms
grep -q CKM_ECDSA mechanisms
`},
	{client: "p11tool", name: "generate", programs: []program{p11tool}, needs: []string{"generate"}, script: `
export GNUTLS_PIN=$PIN
p11tool --provider "$MODULE" --login --generate-privkey=ecdsa --curve=secp256r1 --label gnutls "$URI" --outfile pub.pem
openssl pkey -pubin -in pub.pem -noout
p11tool --provider "$MODULE" --login --batch --delete "$URI;object=gnutls;type=private"
p11tool --provider "$MODULE" --login --batch --delete "$URI;object=gnutls;type=public"
`},
	{client: "p11tool", name: "write", programs: []program{p11tool}, script: `
export GNUTLS_PIN=$PIN
p11tool --provider "$MODULE" --login --write --load-certificate "$CA/server.pem" --label written --id 26 "$URI" 
p11tool --provider "$MODULE" --export "$URI;object=written;type=cert" > back.pem
openssl x509 -in back.pem -outform DER | cmp - <(openssl x509 -in "$CA/server.pem" -outform DER)
p11tool --provider "$MODULE" --login --batch --delete "$URI;object=written;type=cert"
`},
	{client: "p11tool", name: "test-sign", programs: []program{p11tool}, script: `
export GNUTLS_PIN=$PIN
p11tool --provider "$MODULE" --login --test-sign "$URI;object=device;type=private"
`},
	{client: "GnuTLS", name: "TLS client certificate", programs: []program{gnutlsCLI, openssl}, script: `
mutual -tls1_3
export GNUTLS_PIN=$PIN
echo Q | gnutls-cli --provider "$MODULE" --x509cafile "$CA/ca.pem" -p $PORT --sni-hostname localhost --verify-hostname localhost \
	--x509certfile "$DEVICE/device.pem" --x509keyfile "$URI;object=device;type=private" 127.0.0.1 > out 2>&1 || { cat out; exit 1; }
grep -q "Handshake was completed" out
`},

	{client: "OpenSSL engine", name: "dgst", programs: []program{openssl, engine}, script: `
echo hello > text
engine openssl dgst -engine pkcs11 -keyform engine -sha256 -sign "$KEY" -out sig text
openssl dgst -sha256 -verify "$DEVICE/device.pub" -keyform DER -signature sig text
`},
	{client: "OpenSSL engine", name: "req", programs: []program{openssl, engine}, script: `
engine openssl req -new -engine pkcs11 -keyform engine -key "$KEY" -subj /CN=device -sha256 -out csr.pem
openssl req -in csr.pem -noout -verify
`},
	{client: "OpenSSL engine", name: "s_client", programs: []program{openssl, engine}, script: `
mutual
for v in -tls1_2 -tls1_3; do
	echo Q | engine openssl s_client -engine pkcs11 -keyform engine -key "$KEY" -cert "$DEVICE/device.pem" $v \
		-connect 127.0.0.1:$PORT -servername localhost -CAfile "$CA/ca.pem" -verify_return_error > out 2>&1 || { cat out; exit 1; }
done
`},
	{client: "curl", name: "client certificate", programs: []program{curl, openssl, engine}, script: `
mutual
engine curl -sS --fail --engine pkcs11 --key-type ENG --key "$KEY" --cert "$DEVICE/device.pem" --cacert "$CA/ca.pem" \
	https://localhost:$PORT/ --resolve localhost:$PORT:127.0.0.1 > out
grep -q "Client certificate" out
`},

	{client: "OpenSSH", name: "ssh-keygen -D", programs: []program{ssh}, script: `
ssh-keygen -D "$MODULE" > keys
grep -q "^ecdsa-sha2-nistp256 .*device" keys
`},
	{client: "OpenSSH", name: "ssh-agent", programs: []program{ssh}, script: `
eval $(ssh-agent -P "/usr/lib*/*") > /dev/null
trap "ssh-agent -k > /dev/null" EXIT
printf '#!/bin/sh\necho %s\n' "$PIN" > ask
chmod 700 ask
SSH_ASKPASS=$PWD/ask SSH_ASKPASS_REQUIRE=force ssh-add -s "$MODULE"
ssh-add -L | grep device > device.pub
ssh-add -T device.pub
`},
	{client: "OpenSSH", name: "login", programs: []program{ssh, sshd}, script: `
ssh-keygen -q -t ed25519 -N "" -f host
ssh-keygen -D "$MODULE" | grep device > authorized_keys
chmod 600 authorized_keys
mkdir -p /run/sshd
cat > sshd_config <<END
Port $PORT
ListenAddress 127.0.0.1
HostKey $PWD/host
PidFile none
AuthorizedKeysFile $PWD/authorized_keys
PasswordAuthentication no
StrictModes no
UsePAM no
PermitRootLogin yes
END
$(command -v sshd) -D -e -f sshd_config 2> sshd.log &
trap "kill $!" EXIT
up
printf '#!/bin/sh\necho %s\n' "$PIN" > ask
chmod 700 ask
SSH_ASKPASS=$PWD/ask SSH_ASKPASS_REQUIRE=force ssh -F none -I "$MODULE" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
	-o IdentitiesOnly=no -o IdentityAgent=none -p $PORT "$(id -un)@127.0.0.1" echo logged in > out
grep -q "logged in" out
`},

	{client: "NSS", name: "modutil", programs: []program{nss}, script: `
mkdir db
certutil -N -d sql:db --empty-password
modutil -dbdir sql:db -add wall -libfile "$MODULE" -force
modutil -dbdir sql:db -list wall > modules
cat modules
grep -q "Token Name: *$LABEL" modules
echo "$PIN" > pin
certutil -K -d sql:db -h "$LABEL" -f pin > keys
cat keys
grep -q device keys
`},
	{client: "NSS", name: "certutil -R", programs: []program{nss, openssl}, needs: []string{"generate", "label"}, script: `
mkdir db
certutil -N -d sql:db --empty-password
modutil -dbdir sql:db -add wall -libfile "$MODULE" -force
echo "$PIN" > pin
head -c 64 /dev/urandom > noise
certutil -R -d sql:db -h "$LABEL" -f pin -s CN=nss -k ec -q nistp256 -z noise -a -o csr.pem
openssl req -in csr.pem -noout -verify
`},

	{client: "Java", name: "keytool -list", programs: []program{java}, script: `
printf 'name = wall\nlibrary = %s\nslotListIndex = 0\n' "$MODULE" > java.cfg
keytool -list -providerClass sun.security.pkcs11.SunPKCS11 -providerArg java.cfg -storetype PKCS11 -keystore NONE -storepass "$PIN" > out
grep -q "device, PrivateKeyEntry" out
`},
	{client: "Java", name: "keytool -genkeypair", programs: []program{java}, needs: []string{"generate", "label"}, script: `
cat > java.cfg <<END
name = wall
library = $MODULE
slotListIndex = 0
attributes(*,CKO_PRIVATE_KEY,*) = { CKA_TOKEN=true CKA_SIGN=true CKA_SENSITIVE=true CKA_EXTRACTABLE=false }
END
k() { keytool "$@" -providerClass sun.security.pkcs11.SunPKCS11 -providerArg java.cfg -storetype PKCS11 -keystore NONE -storepass "$PIN"; }
k -genkeypair -alias java -keyalg EC -groupname secp256r1 -sigalg SHA256withECDSA -dname CN=java
k -list > keys
grep -q "java, PrivateKeyEntry" keys
k -delete -alias java
`},
	{client: "Java", name: "jarsigner", programs: []program{java, {"jarsigner", "openjdk-17-jdk-headless"}}, script: `
printf 'name = wall\nlibrary = %s\nslotListIndex = 0\n' "$MODULE" > java.cfg
echo hello > text
jar cf x.jar text
jarsigner -providerClass sun.security.pkcs11.SunPKCS11 -providerArg java.cfg -storetype PKCS11 -keystore NONE -storepass "$PIN" x.jar device
jarsigner -verify x.jar > out
grep -q "jar verified" out
`},

	{client: "nginx", name: "two workers", programs: []program{nginx, openssl, engine, curl}, needs: []string{"tls-server"}, script: `
cat > nginx.conf <<END
user $(id -un);
worker_processes 2;
daemon off;
pid $PWD/nginx.pid;
error_log $PWD/error.log;
ssl_engine pkcs11;
env OPENSSL_CONF;
env P11_KIT_SERVER_ADDRESS;
env SOFTHSM2_CONF;
events {}
http {
	access_log off;
	client_body_temp_path $PWD; proxy_temp_path $PWD; fastcgi_temp_path $PWD; uwsgi_temp_path $PWD; scgi_temp_path $PWD;
	server {
		listen 127.0.0.1:$PORT ssl reuseport;
		ssl_certificate $DEVICE/device.pem;
		ssl_certificate_key "engine:pkcs11:$KEY";
		ssl_session_cache off;
		location / { return 200 "\$pid\n"; }
	}
}
END
engine nginx -e error.log -c $PWD/nginx.conf > nginx.log 2>&1 &
trap "kill $!; wait 2>/dev/null || true" EXIT
up || { cat nginx.log error.log; exit 1; }
for i in $(seq 24); do
	curl -sS --fail --no-sessionid --cacert "$CA/ca.pem" --connect-to device.local:443:127.0.0.1:$PORT https://device.local/ >> pids || { cat error.log; exit 1; }
done
test $(sort -u pids | wc -l) = 2
`},
	{client: "mosquitto", name: "broker's key in the token", programs: []program{mosquitto, mosqPub, openssl, engine}, needs: []string{"tls-server"}, script: `
cat > mosquitto.conf <<END
user $(id -un)
listener $PORT 127.0.0.1
allow_anonymous true
cafile $CA/ca.pem
certfile $DEVICE/device.pem
keyfile $KEY
tls_engine pkcs11
tls_keyform engine
END
engine mosquitto -c mosquitto.conf > mosquitto.log 2>&1 &
trap "kill $!" EXIT
up || { cat mosquitto.log; exit 1; }
mosquitto_pub -h 127.0.0.1 -p $PORT --cafile "$CA/ca.pem" --insecure -t wall -m hello -q 1
`},
	{client: "mosquitto", name: "mosquitto_pub", programs: []program{mosquitto, mosqPub, openssl, engine}, script: `
cat > mosquitto.conf <<END
user $(id -un)
listener $PORT 127.0.0.1
cafile $CA/ca.pem
certfile $CA/server.pem
keyfile $CA/server.key
require_certificate true
use_identity_as_username true
END
mosquitto -c mosquitto.conf > mosquitto.log 2>&1 &
trap "kill $!" EXIT
up
# The client opens the key's file before it looks at the engine, so a file of that name has to be there.
engine mosquitto_pub -h localhost -p $PORT --cafile "$CA/ca.pem" --cert "$DEVICE/device.pem" --keyform engine --tls-engine pkcs11 --key "$KEY" -t wall -m hello -q 1
`},
}
