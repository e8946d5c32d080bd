"""Collect the secrets of the demos in these tests, and search for them in files and outputs that must not have them.

A search costs a grep, so every demo is searched before it is taken down, whatever its test was about.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

ANY_KEY = "PRIVATE KEY"
VARIABLES = ("ETCDUP_CA_PASSPHRASE", "AWS_SECRET_ACCESS_KEY")
# Folders that may contain keys, and large folders of etcd itself.
KEY_FOLDERS = ("pki", "away", "requests")
ETCDS_OWN = ("opt", "cache")  # And its log: etcd 3.4 writes the password of a new user into it.


@dataclass
class Secrets:
    """`words` maps the text of each secret to its name. `own` are files that the operator made for a secret."""

    folder: Path
    words: dict[str, str] = field(default_factory=lambda: {ANY_KEY: "a private key"})
    own: set[Path] = field(default_factory=set)
    spoken: list[str] = field(default_factory=list)

    def read_secrets(self, environment: Mapping[str, str], arguments: Sequence[str]) -> None:
        """Collect the secrets: one base64 line of each private key, and all other secrets whole."""
        for key in self.folder.glob(".local/share/etcdup/demo/pki/**/*-key*.pem"):
            lines = key.read_text().splitlines()
            self.words |= {line: f"{key.name} of {key.parent.name}" for line in lines[1:2] if len(line) == 64}
        self.words |= {environment[name]: name for name in VARIABLES if name in environment}
        named = [environment.get("ETCDUP_BACKUP_IDENTITY", "")]
        named += [value for flag, value in pairwise(arguments) if flag == "--identity"]
        for path in (Path(each) for each in named if each):
            self.own.add(path)
            self.words[path.read_text().split()[-1]] = "the age identity"

    def record_output(self, *said: str) -> None:
        self.spoken += said

    def find_leaks(self) -> list[str]:
        """Return where a secret was found: in an output, or in a file outside of the folders for keys."""
        heard = "\n".join(self.spoken)
        found = [f"{what} was said" for text, what in self.words.items() if text in heard]
        skipped = [f"--exclude-dir={name}" for name in (*KEY_FOLDERS, *ETCDS_OWN)]
        grep = [
            "grep",
            "-raFl",
            "-f",
            "-",
            *skipped,
            "--exclude=own.key",
            "--exclude=*.tar.gz",
            "--exclude=*.wal",
            "--",
            str(self.folder),
        ]
        done = subprocess.run(grep, input="\n".join(self.words), capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, 1), done.stderr
        return found + [line for line in done.stdout.splitlines() if Path(line) not in self.own]
