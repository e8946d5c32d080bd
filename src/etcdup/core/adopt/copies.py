"""Which files of the hosts an adoption copies to the operator's machine, and where each copy is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from etcdup.core.adopt.member import TLS_FILES, Member
from etcdup.core.adopt.tls import holder_of_ca_key
from etcdup.core.spec.model import Spec


@dataclass(frozen=True)
class Copy:
    """A file of a host, and the path of its copy, relative to the folder of cluster.yaml.

    The process `pid` has the file. `root` is where its files are, as root on the host sees them.
    """

    host: str
    pid: int
    root: str
    path: str
    target: str
    is_key: bool


def copies_of(spec: Spec, members: Sequence[Member]) -> tuple[Copy, ...]:
    """Return the files to copy. A target has one source: the first host that has the file."""
    found = _of_authority(spec, members) if spec.tls.mode == "managed" else _of_members(spec, members)
    first: dict[str, Copy] = {}
    for each in found:
        if each.path:
            first.setdefault(each.target, each)
    return tuple(first.values())


def _of_authority(spec: Spec, members: Sequence[Member]) -> Iterator[Copy]:
    holder = holder_of_ca_key(members)
    if holder is None:
        return
    member, authority = holder
    name = _host_of(spec, members, member)
    for path, target, is_key in ((authority.path, "ca.pem", False), (authority.key_path, "ca-key.pem", True)):
        yield _copy(name, member, path, str(PurePosixPath(spec.tls.dir) / target), is_key=is_key)


def _of_members(spec: Spec, members: Sequence[Member]) -> Iterator[Copy]:
    for host, member in zip(spec.hosts, members, strict=True):
        for prefix, key_prefix in (("", ""), ("peer-", "peer_")):
            for flag, key in zip(TLS_FILES, ("ca", "cert", "key"), strict=True):
                template: str | None = getattr(spec.tls, key_prefix + key)
                if template is not None:
                    target = template.replace("{name}", host.name)
                    yield _copy(host.name, member, member.path(prefix + flag), target, is_key=key == "key")


def _copy(host: str, member: Member, path: str, target: str, *, is_key: bool) -> Copy:
    return Copy(host, member.process.pid, member.process.root, path, target, is_key)


def _host_of(spec: Spec, members: Sequence[Member], member: Member) -> str:
    return next(host.name for host, each in zip(spec.hosts, members, strict=True) if each is member)
