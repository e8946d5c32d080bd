"""What fails on the hosts of a random sequence: power, network, clocks, disks, files and data."""

import random
from dataclasses import dataclass, field
from pathlib import Path

from etcdup.testing.process import converge
from tests.flows.random_sequences.watched_network import WatchedNetwork

MACHINES = 5
WRONG_CLOCKS_S = (-3 * 3600.0, 3 * 3600.0, 250 * 86400.0)
BAD_FILES = {
    "/etc/etcd/etcd.conf": b'ETCD_DATA_DIR="/var/lib/etcd"\nETCD_MAX_TXN_OPS="many"\n',
    "/etc/etcd/pki/server.pem": b"no certificate\n",
    "/etc/systemd/system/etcd.service": b"[Service]\nExecStart=/bin/false\n",
}
# The quota of each process is smaller.
FULL, REVISIONS = 4 * 1024**3, 5000
# network-online.target is reached this long after the boot of a host with a slow network.
SLOW_BOOT_S = 40.0


@dataclass
class Faults:
    """The hosts of a sequence, and what is wrong with them. `history` describes each action and fault.

    `wiped` is the host with a new disk, `spoiled` the host whose member has other data, `rebuilt` is whether a verb
    replaced the data of the cluster.
    """

    rng: random.Random
    folder: Path
    network: WatchedNetwork = field(default_factory=WatchedNetwork)
    history: list[str] = field(default_factory=list)
    wiped: str = ""
    spoiled: str = ""
    rebuilt: bool = False

    def _harm(self, host: str) -> None:
        harms = (
            self.network.crash, self.network.cut_off, self._cut_from_peers, self._cut_from_operator, self._close_port,
            self._boot_slowly, self._stop, self._kill, self._fill, self._shift_clock, self._shift_own_clock,
            self._spoil, self._withdraw_access,
        )  # fmt: skip
        harm = self.rng.choice(harms)
        if host in self._unreachable():
            return
        self.history.append(f"{getattr(harm, '__name__', harm)} {host}")
        harm(host)
        self.network.last_fault = len(self.network.commands)

    def _cut_from_peers(self, host: str) -> None:
        self.network.machines[host].isolated = True
        converge(self.network)

    def _cut_from_operator(self, host: str) -> None:
        self.network.machines[host].reachable = False

    def _close_port(self, host: str) -> None:
        """Let a firewall close the client port for etcdup."""
        self.network.machines[host].routed = False

    def _boot_slowly(self, host: str) -> None:
        """Boot a host whose network-online.target is reached late: the start of etcd waits in the queue of systemd."""
        self.network.machines[host].online_at = self.network.now() + SLOW_BOOT_S
        self.network.reboot(host)

    def _stop(self, host: str) -> None:
        machine = self.network.machines[host]
        machine.process, machine.failed_at = None, None

    def _kill(self, host: str) -> None:
        if self.network.machines[host].process is not None:
            self.network.machines[host].end_etcd(137)

    def _fill(self, host: str) -> None:
        self.network.machines[host].free_bytes = 0

    def _fill_databases(self) -> None:
        """Let clients write old revisions until the quota of the largest database is reached."""
        for cluster in self.network.serving():
            self.history.append("the databases are full")
            cluster.index += REVISIONS
            cluster.defragmented.clear()
            cluster.db_size = cluster.db_in_use = FULL
            cluster.db_old = FULL * 9 // 10
            others = (alarm for alarm in cluster.alarms if not alarm.startswith("NOSPACE"))
            full = (f"NOSPACE on member {each:x}" for each in sorted(cluster.members))
            cluster.alarms = (*others, *full)

    def _shift_clock(self, host: str) -> None:
        self.network.machines[host].clock_ahead_s = self.rng.choice(WRONG_CLOCKS_S)

    def _shift_own_clock(self, _: str) -> None:
        """Let the clock of the operator's machine be wrong: the clocks of all hosts differ from it."""
        seconds = self.rng.choice(WRONG_CLOCKS_S)
        for machine in self.network.machines.values():
            machine.clock_ahead_s = seconds

    def _withdraw_access(self, _: str) -> None:
        """Let etcd's users be enabled, and take the role root from that of etcdup."""
        for cluster in self.network.serving():
            cluster.auth, cluster.denied = True, "permission denied"

    def _spoil(self, host: str) -> None:
        """Put bad content into a file that is there. Another file would be foreign, which etcdup does not touch."""
        machine, path = self.network.machines[host], self.rng.choice(list(BAD_FILES))
        if machine.file(path):
            self.history.append(f"bad {path}")
            machine.put(path, BAD_FILES[path])

    def _wipe(self, host: str) -> None:
        """Give one host of the sequence a new disk, if the cluster keeps a quorum without its data."""
        serving = self.network.serving()
        if (
            self.wiped
            or self.spoiled
            or self.rebuilt
            or not serving
            or len(serving[0].voters) < 3
            or self._unreachable()
        ):
            return
        self.history.append(f"wipe {host}")
        self.wiped = host
        self.network.wipe(host)

    def _spoil_data(self, host: str) -> None:
        """Give one voter of the sequence other data, if the others are a majority. Mostly, etcd finds it."""
        serving = self.network.serving()
        if self.wiped or self.spoiled or not serving or len(serving[0].voters) < 3 or self._unreachable():
            return
        for ident, member in serving[0].voters.items():
            if member.name == host:
                self.history.append(f"other data on {host}")
                self.spoiled = host
                serving[0].hashes[ident] = 1
                if self.rng.random() < 0.7:
                    serving[0].alarms = (*serving[0].alarms, "CORRUPT")

    def _heal(self) -> None:
        for cluster in self.network.etcd.by_id.values():
            cluster.denied = ""
        for name, machine in self.network.machines.items():
            machine.free_bytes = 20 * 1024**3
            machine.clock_ahead_s = 0.0
            machine.routed = True
            if not machine.powered:
                self.network.reboot(name)
            self.network.reconnect(name)
        self.history.append("the hosts are well again")

    def _random_host(self) -> str:
        return f"infra{self.rng.randint(1, MACHINES)}"

    def _unreachable(self) -> tuple[str, ...]:
        return tuple(name for name, machine in self.network.machines.items() if not machine.answers)
