#!/bin/sh
# bring-up.sh SSH_CONFIG TARBALL VERSION ETCDCTL NAME=ADDRESS...
#
# Makes a cluster as fast as ssh, tar and systemd can: one tar stream into one command for each host, on all hosts at
# once. It works in the current folder, which contains the certificates afterwards.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
ssh_config=$1 tarball=$2 version=$3 etcdctl=$4
shift 4

"$here/../certs.sh" pki "$@"

initial_cluster='' endpoints=''
for host in "$@"; do
    initial_cluster=$initial_cluster,${host%%=*}=https://${host#*=}:2380
    endpoints=$endpoints,https://${host#*=}:2379
done
initial_cluster=${initial_cluster#,} endpoints=${endpoints#,}
token=prod-$(openssl rand -hex 8)

settings() {
    cat <<END
ETCD_NAME="$1"
ETCD_DATA_DIR="/var/lib/etcd"
ETCD_LISTEN_PEER_URLS="https://$2:2380"
ETCD_LISTEN_CLIENT_URLS="https://$2:2379,https://127.0.0.1:2379"
ETCD_LISTEN_METRICS_URLS="http://127.0.0.1:2381"
ETCD_INITIAL_ADVERTISE_PEER_URLS="https://$2:2380"
ETCD_ADVERTISE_CLIENT_URLS="https://$2:2379"
ETCD_INITIAL_CLUSTER="$initial_cluster"
ETCD_INITIAL_CLUSTER_TOKEN="$token"
ETCD_INITIAL_CLUSTER_STATE="new"
ETCD_CLIENT_CERT_AUTH="true"
ETCD_TRUSTED_CA_FILE="/etc/etcd/pki/ca.pem"
ETCD_CERT_FILE="/etc/etcd/pki/server.pem"
ETCD_KEY_FILE="/etc/etcd/pki/server-key.pem"
ETCD_PEER_CLIENT_CERT_AUTH="true"
ETCD_PEER_TRUSTED_CA_FILE="/etc/etcd/pki/ca.pem"
ETCD_PEER_CERT_FILE="/etc/etcd/pki/peer.pem"
ETCD_PEER_KEY_FILE="/etc/etcd/pki/peer-key.pem"
ETCD_PEER_CERT_ALLOWED_CN="etcd-peer"
ETCD_TLS_MIN_VERSION="TLS1.2"
ETCD_QUOTA_BACKEND_BYTES="2147483648"
ETCD_AUTO_COMPACTION_MODE="periodic"
ETCD_AUTO_COMPACTION_RETENTION="8h"
END
}

# This script runs on a host with the tar stream on stdin. `systemctl enable --now` returns when there is a quorum.
on_host='
set -eu
new=/opt/etcd/.new
mkdir -p $new /opt/etcd/'$version'
tar -x -C $new
id -u etcd >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir /var/lib/etcd --no-create-home --shell /usr/sbin/nologin etcd
tar -xz -f $new/etcd.tar.gz -C /opt/etcd/'$version' --strip-components=1 --no-same-owner
ln -sfn '$version' /opt/etcd/current
ln -sfn /opt/etcd/current/etcd /opt/etcd/current/etcdctl /opt/etcd/current/etcdutl /usr/local/bin
install -d -o etcd -g etcd -m 700 /var/lib/etcd
install -d -g etcd -m 750 /etc/etcd /etc/etcd/pki
install -g etcd -m 640 $new/pki/*.pem /etc/etcd/pki
install -o etcd -g etcd -m 600 $new/pki/*-key.pem /etc/etcd/pki
install -g etcd -m 640 $new/etcd.conf /etc/etcd
install -m 644 $new/etcd.service /etc/systemd/system
rm -rf $new
systemctl enable --quiet --now etcd.service
sed -i "s/^ETCD_INITIAL_CLUSTER_STATE=.*/ETCD_INITIAL_CLUSTER_STATE=\"existing\"/" /etc/etcd/etcd.conf
'

jobs=''
for host in "$@"; do
    name=${host%%=*}
    mkdir -p "stage/$name"
    settings "$name" "${host#*=}" >"stage/$name/etcd.conf"
    cp -r "pki/$name" "stage/$name/pki"
    ln -s "$tarball" "stage/$name/etcd.tar.gz"
    ln -s "$here/../etcd.service" "stage/$name/etcd.service"
    tar -ch -C "stage/$name" . | ssh -F "$ssh_config" "$name" "$on_host" &
    jobs="$jobs $!"
done
for job in $jobs; do wait "$job"; done
rm -rf stage

tries=0
until "$etcdctl" --endpoints="$endpoints" --cacert=pki/ca.pem --cert=pki/admin.pem --key=pki/admin-key.pem \
    endpoint health; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { echo "not healthy after $tries tries" >&2; exit 1; }
    sleep 0.1
done
