#!/bin/sh
# certs.sh FOLDER NAME=ADDRESS...: makes a CA, three certificates for each host and one for the administrator.
set -eu
umask 077
folder=$1
shift
mkdir -p "$folder"
cd "$folder"

cat >openssl.cnf <<'END'
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[member]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = $ENV::SAN
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
END

# new SECTION COMMON_NAME FILE DAYS [OPTION...]
new() {
    section=$1 common_name=$2 file=$3 days=$4
    shift 4
    openssl req -x509 -config openssl.cnf -extensions "$section" -subj "/CN=$common_name" -days "$days" \
        -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$file-key.pem" -out "$file.pem" "$@" 2>openssl.log ||
        { cat openssl.log >&2; exit 1; }
}

export SAN=DNS:localhost
new ca etcd-ca ca 3650
for host in "$@"; do
    name=${host%%=*}
    SAN="DNS:$name,DNS:localhost,IP:${host#*=},IP:127.0.0.1,IP:::1"
    mkdir -p "$name"
    cp ca.pem "$name/ca.pem"
    new member "$name" "$name/server" 365 -CA ca.pem -CAkey ca-key.pem
    new member etcd-peer "$name/peer" 365 -CA ca.pem -CAkey ca-key.pem
    new client etcd-health "$name/health" 365 -CA ca.pem -CAkey ca-key.pem
done
new client root admin 365 -CA ca.pem -CAkey ca-key.pem
