#!/bin/sh
# restart.sh SSH_CONFIG HOST...
#
# Restarts one host after the other. `systemctl restart` returns when etcd is ready, because the unit is Type=notify.
set -eu
ssh_config=$1
shift
for host in "$@"; do
    ssh -F "$ssh_config" "$host" systemctl restart etcd
done
