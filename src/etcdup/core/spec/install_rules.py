"""Rules between the keys of the section install."""

import re
from collections.abc import Iterator

from etcdup.core.spec.address import is_web_url
from etcdup.core.spec.host_rules import Mistake
from etcdup.core.spec.model import Spec

# The architectures of Linux for which etcd has tarballs.
_RELEASED_ARCHES = ("amd64", "arm64", "ppc64le", "s390x")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def install_mistakes(spec: Spec) -> Iterator[Mistake]:
    """Yield every mistake in the section install."""
    install, source = spec.install, ("install", "from")
    if install.source == "path" and install.path is None:
        hint = "add `path:` with the directory that contains etcd and etcdctl"
        yield Mistake((source, ("install", "path")), "`from: path` also needs `path`", hint)
    if install.source != "path" and install.path is not None:
        message = f"`path` is only allowed with `from: path`, not with `from: {install.source}`"
        yield Mistake((("install", "path"), source), message, "write `from: path`, or remove `path`")
    yield from _checksums(spec)
    if install.source == "host" and any(host.root for host in spec.hosts):
        message = (
            "`from: host` is not allowed with `root`: this machine would run a program of another host as you"
        )
        yield Mistake((source,), message, "write another source, for example `from: release`")
    if install.mirror is None:
        return
    if install.source not in ("auto", "release"):
        message = (
            f"`mirror` is only allowed with `from: auto` or `release`, not with `from: {install.source}`"
        )
        yield Mistake((("install", "mirror"), source), message, "write `from: release`, or remove `mirror`")
    elif not is_web_url(install.mirror):
        message = f"`mirror` must be a URL, not `{install.mirror}`"
        hint = "write a URL, for example https://mirror.example.com/etcd"
        yield Mistake((("install", "mirror"),), message, hint)


def _checksums(spec: Spec) -> Iterator[Mistake]:
    install, at = spec.install, ("install", "sha256")
    if install.sha256 and install.source in ("package", "go"):
        message = f"`sha256` is the checksum of a tarball, and `from: {install.source}` uses none"
        yield Mistake((at, ("install", "from")), message, "write `from: release`, or remove `sha256`")
    for arch, checksum in install.sha256.items():
        if arch not in _RELEASED_ARCHES:
            message = f"`{arch}` is no architecture of a release of etcd"
            yield Mistake(((*at, arch),), message, f"use one of {', '.join(_RELEASED_ARCHES)}")
        if not _SHA256.fullmatch(checksum):
            message = f"a SHA-256 has 64 hexadecimal digits, not `{checksum}`"
            hint = (
                "write the sum of the programs that `etcdup plan` shows in its refusal"
                if install.source == "host"
                else "copy it from the line of the tarball in SHA256SUMS, without the name of the file"
            )
            yield Mistake(((*at, arch),), message, hint)
