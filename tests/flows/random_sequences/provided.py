"""Random sequences that begin with certificates of another CA: they are renewed, requested, and replaced by a CA
of etcdup.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etcdup.core.spec.model import Spec
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.own_ca import make_own_ca
from etcdup.ops.pki.requests import request_all, tls_section
from tests.flows.random_sequences.faults import MACHINES
from tests.flows.random_sequences.file import File
from tests.flows.random_sequences.sequence import Sequence
from tests.flows.random_sequences.verbs import Operator, Verb, apply_file, destroy_cluster
from tests.support.openssl import DATE, Ca, make_ca, make_cert, make_key

PROVIDED = "tls: {mode: provided, ca: ca.pem, cert: etcd.pem, key: etcd-key.pem}\n"
OWN = "tls: {mode: managed, dir: pki}\n"
REQUESTED = tls_section("csr")
ADDRESSES = tuple(f"192.168.8.{number}" for first in (66, 76) for number in range(first, first + MACHINES))


@dataclass
class ProvidedSequence(Sequence):
    """A sequence whose first certificates another CA signs.

    Without a PKI directory, no file names the hosts of earlier files: `plan` cannot observe them. So an operator never
    writes a file without any host of the previous one.
    """

    host_lists: tuple[tuple[int, ...], ...] = ((1, 2, 3), (1, 2, 3, 4, 5), (2, 3, 4), (3,), (3, 4, 5))

    async def form(self) -> None:
        self.file = self.settled = dataclasses.replace(self.file, tls=PROVIDED)
        ca = make_ca(self._theirs)
        shutil.copy(ca.cert, self.folder / "ca.pem")
        self._sign(self.folder / "etcd.pem", new=True)
        await super().form()

    @property
    def _theirs(self) -> Path:
        return self.folder.with_name("theirs")

    def _verbs(self) -> tuple[list[tuple[str, Verb]], list[int]]:
        verbs, weights = super()._verbs()
        more: list[tuple[str, Verb, int]] = [
            ("apply with new certificates", self._renew_provided, 6),
            ("certs csr, and apply", self._use_requested, 3),
            ("certs own-ca, and apply", self._use_own_ca, 6),
        ]
        weights = [
            0 if verb is destroy_cluster and not self._names_all() else w
            for (_, verb), w in zip(verbs, weights, strict=True)
        ]
        return [*verbs, *((name, verb) for name, verb, _ in more)], [*weights, *(each for *_, each in more)]

    def _names_all(self) -> bool:
        """Return whether the file names all members: `destroy` stops no other one, and then no file leads to it."""
        listed = {each.name for cluster in self.network.serving() for each in cluster.members.values()}
        return listed <= {f"infra{number}" for number in self.file.hosts}

    def _files_of_hints(self) -> Iterator[File]:
        """An operator who has made a CA, and replaced the provided files since, finishes with the new CA."""
        yield from super()._files_of_hints()
        if (self.folder / "pki/ca.pem").exists():
            yield dataclasses.replace(self.settled, tls=OWN)

    def _move_wiped(self) -> None:
        """A machine without a marker, which a file names alone, would form a new cluster."""

    async def _renew_provided(self, operator: Operator) -> None:
        """Let the other CA sign the same names again, for the same key or for a new one."""
        if self.file.tls == PROVIDED:
            self._sign(operator.folder / "etcd.pem", new=self.sleeper.random() < 0.5)
        if self.file.tls == REQUESTED:
            self._sign_requests(operator.spec, operator.folder)
        await self._apply(operator)

    async def _use_requested(self, operator: Operator) -> None:
        if self.file.tls == PROVIDED:
            self._sign_requests(operator.spec, operator.folder)
            self.file = dataclasses.replace(self.file, tls=REQUESTED)
        await self._apply(operator)

    async def _use_own_ca(self, operator: Operator) -> None:
        if self.file.tls != OWN and not (operator.folder / "pki").exists():
            provided, now = open_pki(operator.spec, operator.folder), self._now()
            make_own_ca(operator.spec, operator.folder, provided, operator.folder / "pki", now, None)
        if (operator.folder / "pki/ca.pem").exists():
            self.file = dataclasses.replace(self.file, tls=OWN)
        await self._apply(operator)

    async def _apply(self, operator: Operator) -> None:
        await apply_file(dataclasses.replace(operator, spec=self.file.spec()))
        self.settled = self.file

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.network.now(), UTC)

    def _sign(self, cert: Path, *, new: bool, addresses: tuple[str, ...] = ADDRESSES) -> None:
        key = cert.with_name(f"{cert.stem}-key.pem")
        if new:
            make_key(key)
        now = self._now()
        valid = (f"{now - timedelta(hours=1):{DATE}}", f"{now + timedelta(days=500):{DATE}}")
        make_cert(Ca(self._theirs), cert, key, addresses=addresses, valid=valid)

    def _sign_requests(self, spec: Spec, folder: Path) -> None:
        """Write the requests, and sign one of each key. New hosts have no certificate until the next time."""
        for request in request_all(spec, folder / "csr"):
            self._sign(request.with_suffix(".pem"), new=False)
        shutil.copy(folder / "ca.pem", folder / "csr/ca.pem")
