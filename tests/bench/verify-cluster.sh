# Runs on each machine. The argument is the version. If something is wrong, prints it on stderr and fails.
set -u
pki=/etc/etcd/pki
expect() { [ "$2" = "$3" ] || { echo "$1 is '$2' instead of '$3'" >&2; exit 1; }; }
ctl() { /opt/etcd/current/etcdctl --cacert=$pki/ca.pem --endpoints=https://127.0.0.1:2379 "$@"; }
healthy() { ctl --cert=$pki/health.pem --key=$pki/health-key.pem endpoint health --cluster 2>&1 | grep -c 'is healthy'; }

expect 'the unit' "$(systemctl is-active etcd.service) $(systemctl is-enabled etcd.service)" 'active enabled'
expect 'the user' "$(stat -c %U "/proc/$(systemctl show etcd.service --property=MainPID --value)")" etcd
expect 'the data folder' "$(stat -c '%a %U' /var/lib/etcd)" '700 etcd'
expect 'a key' "$(stat -c '%a %U' $pki/peer-key.pem)" '600 etcd'
expect 'the version' "$(readlink /opt/etcd/current)" "$1"
state=$(grep ^ETCD_INITIAL_CLUSTER_STATE= /etc/etcd/etcd.conf)
expect 'the state' "$state" 'ETCD_INITIAL_CLUSTER_STATE="existing"'
expect 'the count of healthy members' "$(healthy)" 3
if ctl get x 2>/dev/null; then echo 'etcd serves a client without a certificate' >&2; exit 1; fi
