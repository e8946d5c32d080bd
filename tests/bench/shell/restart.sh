#!/bin/sh
# restart.sh SSH_CONFIG HOST...
#
# One host after the other. `systemctl restart` returns when etcd says that it is ready: its unit is Type=notify.
set -eu
ssh_config=$1
shift
for host in "$@"; do
    ssh -F "$ssh_config" "$host" systemctl restart etcd
done
