"""What fails while a verb runs: etcdup itself, its operator, or a host with its network, clock and files."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.lab.machine import Machine
from tests.lab.operator import ETCDUP, Operator, output_of

# A stopped etcdup sends no heartbeat, and the hosts release its lock after 30 s.
ASLEEP_S = 40
LATEST_S = 6
WRONG_CLOCKS_S = (-3 * 3600, 3 * 3600, 250 * 86400)
BAD_FILES = {
    "/etc/etcd/etcd.conf": "ETCD_HEARTBEAT_INTERVAL=many\n",
    "/etc/etcd/pki/server.pem": "no certificate\n",
    "/etc/systemd/system/etcd.service": "[Service]\nExecStart=/bin/false\n",
}
EXIT_CODES = (0, 1, 2, 3, 4, 5, 130, -signal.SIGKILL)

Etcdup = subprocess.Popen[str]


@dataclass
class Faults:
    """The faults of one sequence. `history` describes each of them, for the message of a failure.

    `other_file` writes another cluster.yaml than the present one, for a second operator, and returns its name.
    """

    rng: random.Random
    operator: Operator
    other_file: Callable[[], str]
    history: list[str] = field(default_factory=list)

    def run(self, words: Sequence[str], fault: str = "") -> int:
        """Run a verb with this fault of `FAULTS`, or none. Return the exit code."""
        began = time.monotonic()
        running = self.operator.start(*words)
        if fault:
            time.sleep(self.rng.uniform(0.3, LATEST_S))
            FAULTS[fault](self, running)
        code = self._end(running, " ".join(words))
        self.history[-1] += f" [{fault or 'no fault'}, {time.monotonic() - began:.0f} s]"
        return code

    def _end(self, running: Etcdup, name: str) -> int:
        out, err = running.communicate(timeout=300)
        lines = [line for line in err.splitlines() if line.startswith(("error:", "hint:"))]
        self.history.append(f"{name}: exit {running.returncode} {' | '.join(lines)[:300]}")
        done = subprocess.CompletedProcess(name, running.returncode, out, err)
        assert "Traceback" not in err, output_of(done)
        assert "bug in etcdup" not in err, output_of(done)
        assert running.returncode in EXIT_CODES, output_of(done)
        return running.returncode

    # Faults of etcdup. A signal to a process that has ended does nothing, until its exit code is read.

    def kill_etcdup(self, running: Etcdup) -> None:
        running.kill()

    def interrupt(self, running: Etcdup) -> None:
        running.send_signal(signal.SIGINT)

    def sleep_while_another_works(self, running: Etcdup) -> None:
        """Stop etcdup as a closed laptop does. A second operator applies another file when the lock is free."""
        running.send_signal(signal.SIGSTOP)
        time.sleep(ASLEEP_S)
        argv = [str(ETCDUP), "-f", self.other_file(), "apply", "--yes"]
        second = self.operator.lab.popen(argv, env=self.operator.env, cwd=self.operator.folder)
        time.sleep(self.rng.uniform(0, LATEST_S))
        running.send_signal(signal.SIGCONT)
        self._end(second, "the second operator")

    # Faults of hosts

    def cut_power(self, _: Etcdup) -> None:
        machine = self._machine()
        machine.kill()
        if self.rng.random() < 0.5:
            machine.start()
            machine.wait_ssh()

    def cut_network(self, _: Etcdup) -> None:
        self._machine().cut_off()

    def cut_from_peers(self, _: Etcdup) -> None:
        machine = self._machine()
        machine.cut_off_from(*[each for each in self.operator.lab if each is not machine])

    def shift_clock(self, _: Etcdup) -> None:
        self._machine().shift_clock(self.rng.choice(WRONG_CLOCKS_S))

    def write_bad_file(self, _: Etcdup) -> None:
        path = self.rng.choice(list(BAD_FILES))
        machine = self._machine()
        self.history.append(f"bad {path}")
        # Only a file that is there becomes bad: a new one would be a foreign file, which etcdup does not touch.
        machine.run(f"[ ! -e {path} ] || cat >{path}", stdin=BAD_FILES[path])

    def kill_etcd(self, _: Etcdup) -> None:
        self._machine().run("systemctl kill -s KILL etcd", check=False)

    def heal(self) -> None:
        """End all faults of hosts, except bad files: apply corrects these."""
        for machine in self.operator.lab:
            if machine.is_on():
                machine.reconnect()
            else:
                machine.start()
        self.operator.lab.wait_ssh()
        for machine in self.operator.lab:
            machine.shift_clock(0)

    def _machine(self) -> Machine:
        """Return a machine of cluster.yaml, or another one if all of these are off."""
        text = self.operator.file.read_text()
        on = [each for each in self.operator.lab if each.is_on()]
        machine = self.rng.choice([each for each in on if f"name: {each.name}," in text] or on)
        self.history.append(f"the fault is on {machine.name}")
        return machine


FAULTS: dict[str, Callable[[Faults, Etcdup], None]] = {
    "kill": Faults.kill_etcdup,
    "interrupt": Faults.interrupt,
    "asleep": Faults.sleep_while_another_works,
    "power": Faults.cut_power,
    "network": Faults.cut_network,
    "peers": Faults.cut_from_peers,
    "clock": Faults.shift_clock,
    "bad file": Faults.write_bad_file,
    "etcd killed": Faults.kill_etcd,
}
