"""Run etcdup as a command, on members of this machine, with a cache of its own."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import parse_version
from etcdup.ops.demo import claimed, write_cluster_file
from etcdup.ops.pki.open import open_pki
from tests.cli.secret_search import Secrets
from tests.support.etcd_binaries import release_tarball, why_not
from tests.support.keyboard import run_interactively
from tests.support.loopback_networks import claim_network

VERSION = "3.4.23"
SOURCE = Path(__file__).parents[2] / "src"
TIMEOUT_S = 120.0
PATIENCE_S = 90.0

CLUSTER = """\
name: prod
version: 3.6.14
hosts:
  - {name: infra1, address: 10.0.0.1}
  - {name: infra2, address: 10.0.0.2}
  - {name: infra3, address: 10.0.0.3}
"""

_claims: list[socket.socket] = []


@dataclass
class Etcdup:
    """Runs etcdup in its own process and its own folder."""

    folder: Path
    user: int | None = None
    extra: dict[str, str] = field(default_factory=dict)
    secrets: Secrets = field(init=False)

    def __post_init__(self) -> None:
        self.secrets = Secrets(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
        ours = {
            "HOME": str(self.folder),
            "ETCDUP_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": str(SOURCE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "100",
        }
        return kept | ours | self.extra

    def argv(self, *arguments: str) -> list[str]:
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        return [*(become if self.user else []), sys.executable, "-m", "etcdup", *arguments]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run etcdup to its end. Before a demo goes down, check that no secret is in a wrong file or in the output."""
        self.secrets.read_secrets(self.environment, arguments)
        if "--down" in arguments or "destroy" in arguments:
            assert self.secrets.find_leaks() == []
        done = self._run(self.argv(*arguments), self.environment)
        self.secrets.record_output(done.stdout, done.stderr)
        self.secrets.read_secrets(self.environment, arguments)
        return done

    def _run(self, argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return self._start(self.argv(*arguments), self.environment)

    def _start(self, argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv,
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def on_terminal(self, *arguments: str, cut: str = "") -> Callable[[int], subprocess.Popen[str]]:
        """Return a start function for `run_interactively` in tests/support/keyboard.py. `cut` kills it at this step."""
        argv, environment = (
            self._kill_command(cut, *arguments) if cut else (self.argv(*arguments), self.environment)
        )

        def start(terminal: int) -> subprocess.Popen[str]:
            return subprocess.Popen(
                argv,
                env=environment,
                cwd=self.folder,
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                text=True,
            )

        return start

    def kill_at(self, kind: str, *arguments: str) -> None:
        """Run etcdup and kill it at the first journal line of a step of this kind."""
        argv, environment = self._kill_command(kind, *arguments)
        done = self._run(argv, environment)
        assert done.returncode == -signal.SIGKILL, f"it was not cut at {kind}:\n{done.stdout}{done.stderr}"

    def start_and_stop_at(self, kind: str, *arguments: str) -> subprocess.Popen[str]:
        """Start etcdup, which stops at the first journal line of a step of this kind, until it gets SIGCONT."""
        argv, environment = self._kill_command(kind, *arguments)
        return self._start(argv, environment | {"STEP_SIGNAL": "STOP"})

    def _kill_command(self, kind: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
        argv = [sys.executable, "-m", "tests.support.kill_at_step", kind, *arguments]
        return argv, self.environment | {"PYTHONPATH": f"{SOURCE}:{SOURCE.parent}"}


def assert_nothing_to_do(etcdup: Etcdup, *verb: str) -> None:
    """Run this verb (default: `apply`). It must find nothing to do."""
    done = etcdup(*(verb or ("apply",)), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "nothing to do"


def steps_of(etcdup: Etcdup, *verb: str) -> set[str]:
    """Return the kinds of the steps that `plan`, or this verb with its options, plans."""
    told = json.loads(etcdup(*(verb or ("plan",)), "--json").stdout)
    return {each["step"] for each in (told.get("plan") or told)["steps"]}


def lines_with(word: str, text: str) -> list[str]:
    """Return the lines with this word."""
    return [line for line in text.splitlines() if word in line]


def notes_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the notes of the plan in this JSON, with N for each size, sum, term, index and revision."""
    notes = json.loads(done.stdout)["plan"]["notes"]
    return [
        re.sub(r"\b(term|applied|revision) \d+|[\d.]+ (Ki|Mi)?B\b|\b[0-9a-f]{12}\b", "N", note)
        for note in notes
    ]


def refused_rules(etcdup: Etcdup, *verb: str) -> list[list[int]]:
    """Return the rules of each reason for which this verb with its options is refused."""
    done = etcdup(*verb, "--json")
    assert done.returncode == 4, done.stdout + done.stderr
    told = json.loads(done.stdout)
    return [each["rules"] for each in (told.get("error") or told)["refused"]]


def wait_until(condition: Callable[[], bool], why: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until the condition is true. Fail with `why` after this time."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, why
        time.sleep(0.02)


def run_and_answer(etcdup: Etcdup, answer: str | signal.Signals, *arguments: str) -> int:
    """Return the exit code of a run on a terminal. At the yes-or-no question, type this answer or send this signal."""
    return run_interactively(etcdup.on_terminal(*arguments), [("[y/N]", answer)])[0]


def prepare_demo(etcdup: Etcdup, place: Path, members: int = 3, version: str = VERSION) -> None:
    """Create the files of a demo that does not run yet, with etcd from a tarball, so that no network is needed.

    A demo takes what is free when it is laid out, which others may have taken before it is up. So this one gets a
    network of its own, for as long as these tests run.
    """
    tarball = etcdup.folder / "etcd.tar.gz"
    shutil.copy(release_tarball(version), tarball)
    with claimed(place):
        path = write_cluster_file(place, parse_version(version), "auto", members)
    text = path.read_text().replace("{from: auto}", f"{{from: path, path: {tarball}}}")
    network, claim = claim_network()
    _claims.append(claim)
    path.write_text(re.sub(r"127\.77\.\d+\.", f"127.77.{network}.", text))


def demo_folder(etcdup: Etcdup) -> Path:
    """Return the folder in which `etcdup demo` sets its cluster up."""
    return etcdup.folder / ".local/share/etcdup/demo"


def demo_spec(etcdup: Etcdup) -> Spec:
    file = demo_folder(etcdup) / "cluster.yaml"
    return load(file.read_text(), str(file))


def demo_pids(etcdup: Etcdup) -> list[int]:
    """Return the process IDs of the three members."""
    return [int((demo_folder(etcdup) / f"infra{n}/run/etcdup/etcd.pid").read_text()) for n in (1, 2, 3)]


def start_demo(etcdup: Etcdup, *options: str, version: str = VERSION) -> str:
    """Start a demo, and return its stderr. Its cluster.yaml is the default file of each later run."""
    prepare_demo(etcdup, demo_folder(etcdup), version=version)
    done = etcdup("demo", *options)
    assert done.returncode == 0, done.stderr
    etcdup.extra["ETCDUP_FILE"] = str(demo_folder(etcdup) / "cluster.yaml")
    return done.stderr


@contextmanager
def running_demo(
    folder: Path, version: str, members: int = 3, *, edit: Callable[[str], str] = str
) -> Iterator[Etcdup]:
    """Yield etcdup with a demo of this version in a folder of its own. Skip the test without this version of etcd.

    `edit` changes the text of its cluster.yaml before the apply.
    """
    if reason := why_not(version):
        pytest.skip(reason)
    etcdup = Etcdup(folder)
    prepare_demo(etcdup, demo_folder(etcdup), members, version)
    file = demo_folder(etcdup) / "cluster.yaml"
    file.write_text(edit(file.read_text()))
    etcdup.extra["ETCDUP_FILE"] = str(file)
    try:
        done = etcdup("apply", "--yes")
        assert done.returncode == 0, done.stderr
        yield etcdup
    finally:
        etcdup("demo", "--down")


@pytest.fixture(scope="module")
def etcdup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcdup]:
    """Return etcdup for this user. At the end, its demo is stopped."""
    if reason := why_not(VERSION):
        pytest.skip(reason)
    called = Etcdup(tmp_path_factory.mktemp("cli"))
    yield called
    called("demo", "--down")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with cluster.yaml and the PKI that an apply creates."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    open_pki(load(CLUSTER, "cluster.yaml"), tmp_path).issue(["admin"], datetime.now(UTC))
    return tmp_path
