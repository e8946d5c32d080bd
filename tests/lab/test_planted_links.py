"""User etcd plants links under the names that commands use. Root follows none of them, and work continues without them.

The data directory is a mount point, and the write-ahead log has its own disk: both directories belong to user etcd.
"""

import pytest

from tests.lab.machine import Machine
from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_membership import machine_names, write_members
from tests.lab.test_restore import WAL_DISK, WAL_ON_ITS_OWN_DISK, YES, save_snapshot
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")
DATA = "/var/lib/etcd"
# An attacker who controls etcd can do less: the unit of etcd hides most of the file system.
AS_ETCD = (
    "exec setpriv --reuid=etcd --regid=etcd --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "
    "sh -c "
)
PLANT = f"""'
cd {DATA}
for name in restore restore.db restore.db.part restore.placing salvage salvage.part; do
  ln -sfn "$1" "aside-$name"
done
cd {WAL_DISK}
for name in restore restore.placing salvage salvage.part; do ln -sfn "$1" "wal.$name"; done
' sh """
# The archive of the next minutes: its name contains the time.
PLANT_ARCHIVES = f"""'
now=$(date +%s)
for each in $(seq 0 900); do
  name=aside-$(date -u -d "@$((now + each))" +%Y%m%dT%H%M%SZ)
  ln -s "$1" "{DATA}/$name"
  ln -s "$1" "{WAL_DISK}/wal.$name"
done
' sh """
REMOVE_LINKS = f"find {DATA} {WAL_DISK} -maxdepth 1 -type l -delete"
CANARIES = (
    "find /root /etc/cron.daily /srv/target /etc/passwd /etc/shadow -type f -exec sha256sum {} + ; "
    "find /root /etc/cron.daily /srv/target /etc /opt/etcd -maxdepth 1 -printf '%p %U:%G %m\\n'"
)


@pytest.mark.in_turn(1, 2)
def test_links_of_user_etcd_change_nothing_of_root(operator: Operator) -> None:
    machines = operator.lab.machines
    for machine in machines:
        machine.small_disk(DATA, 1000)
        machine.small_disk(WAL_DISK, 1000)
        machine.run(
            "mkdir -p -m 0755 /srv/target; echo canary >/root/canary; echo canary >/srv/target/canary"
        )
    write_members(operator, machine_names(operator, 1, 2, 3), WAL_ON_ITS_OWN_DISK)
    assert HEALTHY in operator.apply()
    operator.ctl("put", "kept", "yes")
    snapshot = str(save_snapshot(operator))
    before = [canaries(machine) for machine in machines]

    # Each attempt has other links. An attempt may fail, but it changes nothing of root, and the last one succeeds.
    for target in ("/root/canary", "/srv/target"):
        for machine in machines:
            machine.run(AS_ETCD + PLANT + target)
        operator.run("restore", snapshot, *YES, "--again")
        assert [canaries(machine) for machine in machines] == before
    for machine in machines:
        machine.run(REMOVE_LINKS)
    restored = operator.run("restore", snapshot, *YES, "--again")
    assert HEALTHY in restored.stdout, output_of(restored)
    assert operator.ctl("get", "kept", "--print-value-only").strip() == "yes"
    for machine in machines:
        found = machine.run(f"stat -c '%U:%G %a' {DATA} {DATA}/member {WAL_DISK} {WAL_DISK}/wal").stdout
        assert set(found.splitlines()) == {"etcd:etcd 700"}

    for machine in machines:
        machine.run(AS_ETCD + PLANT_ARCHIVES + "/etc/cron.daily")
    operator.run("destroy", "--yes-destroy", "prod")
    assert [canaries(machine) for machine in machines] == before
    for machine in machines:
        machine.run(REMOVE_LINKS)
    destroyed = operator.run("destroy", "--yes-destroy", "prod")
    assert destroyed.returncode == 0, output_of(destroyed)
    for machine in machines:
        assert machine.run(f"ls -d {DATA}/aside-*/member {WAL_DISK}/wal.aside-*").stdout.split()


def canaries(machine: Machine) -> str:
    return machine.run(f"{CANARIES} | grep -v -e '/etc/etcd' -e '^/etc ' | sort").stdout
