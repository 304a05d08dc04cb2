#!/bin/bash
# Makes /certs/ca.pem, chain.pem and key.pem for the host names sslecho and localhost, unless they are there. The authority's
# own key is not kept.
set -euo pipefail
umask 027
cd /certs
if [ -e chain.pem ]; then
	exit 0
fi
work=$(mktemp -d /certs/new.XXXXXX)
trap 'rm -rf "$work"' EXIT
new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 "$@" 2>/dev/null; }
new -subj '/CN=sslecho demo CA' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
	-keyout "$work/ca.key" -out "$work/ca.pem"
new -subj /CN=sslecho -CA "$work/ca.pem" -CAkey "$work/ca.key" -addext basicConstraints=critical,CA:FALSE \
	-addext subjectAltName=DNS:sslecho,DNS:localhost,IP:127.0.0.1 -addext extendedKeyUsage=serverAuth \
	-keyout "$work/key.pem" -out "$work/chain.pem"
chmod 640 "$work/key.pem"
mv "$work/ca.pem" "$work/key.pem" .
mv "$work/chain.pem" . # last: it says that all are there
