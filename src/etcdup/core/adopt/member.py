"""One member as the inspection found it: its process, its entry in the member list, and its settings."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from etcdup.core.adopt.model import HostProcesses, Inspected, Process, Unreadable
from etcdup.core.adopt.settings import Settings, settings_of_process, urls_of, value_of
from etcdup.core.observed.member import ListedMember
from etcdup.core.spec.address import is_loopback
from etcdup.core.spec.version import Version
from etcdup.core.spec.visible import one_line

DEFAULT_PEER_URL = "http://localhost:2380"
DEFAULT_CLIENT_URL = "http://localhost:2379"
TLS_FILES = ("trusted-ca-file", "cert-file", "key-file")
CA_KEYS = ("ca-key.pem", "ca.key", "ca-etcd-key.pem", "ca_key.pem", "private/ca.key")
_SHELLS = ("ash", "bash", "busybox", "dash", "ksh", "mksh", "sh", "zsh")
_PATH = re.compile(r"/[A-Za-z0-9_.,:/@+=-]{0,4095}", re.ASCII)


@dataclass(frozen=True)
class Url:
    """The parts of a URL of etcd."""

    text: str
    scheme: str
    host: str
    port: int


@dataclass(frozen=True)
class Member:
    """A member of which everything that the draft needs is known."""

    inspected: Inspected
    settings: Settings
    listed: ListedMember
    version: Version

    @property
    def name(self) -> str:
        return self.listed.name

    @property
    def process(self) -> Process:
        return self.inspected.process

    @property
    def peer(self) -> Url:
        """The peer URL of the member list. Which of several is used does not matter: they are refused."""
        return parse_url(self.listed.peer_urls[0])

    @property
    def client(self) -> Url | None:
        """The client URL of the member list: with the address of the peers, if there is such a URL."""
        urls = sorted(map(parse_url, self.listed.client_urls), key=self._fits_badly)
        return urls[0] if urls else None

    def _fits_badly(self, url: Url) -> tuple[bool, bool]:
        return (url.host != self.peer.host, url.scheme != "https")

    def urls(self, flag: str) -> tuple[Url, ...]:
        """Return the URLs that the process listens on."""
        default = {"listen-peer-urls": DEFAULT_PEER_URL, "listen-client-urls": DEFAULT_CLIENT_URL}.get(
            flag, ""
        )
        return tuple(map(parse_url, urls_of(self.settings, flag, default)))

    def path(self, flag: str) -> str:
        """Return the absolute path of a flag, empty if it is not set."""
        return absolute(self.process, value_of(self.settings, flag))

    @property
    def data_dir(self) -> str:
        """The directory on the host. The guard of the inspection refuses a container that has it nowhere there."""
        return self._on_host(absolute(self.process, value_of(self.settings, "data-dir", f"{self.name}.etcd")))

    @property
    def wal_dir(self) -> str:
        """The directory on the host, empty if it is not set."""
        return self._on_host(self.path("wal-dir"))

    def _on_host(self, path: str) -> str:
        return host_path(self.process, path) or path

    def origin(self, flag: str) -> str:
        """Return where a setting is from, in words for a comment of the draft."""
        setting = self.settings.get(flag)
        if setting is None or not setting.value:
            return "default of etcd"
        words = {"flag": f"flag --{flag}", "environment": f"ETCD_{flag.upper().replace('-', '_')}"}
        return words.get(setting.origin, f"{flag} in {setting.origin}")


def member_processes(first: HostProcesses) -> tuple[Process, ...]:
    """Return the processes that are members: no gateway, no proxy, no script named etcd that starts a container."""
    return tuple(each for each in first.processes if not _is_script(each) and not _is_proxy(each))


def _is_script(process: Process) -> bool:
    return PurePosixPath(process.exe.removesuffix(" (deleted)")).name in _SHELLS


def _is_proxy(process: Process) -> bool:
    if process.argv[1:2] and process.argv[1] in ("gateway", "grpc-proxy"):
        return True
    settings = settings_of_process(process)
    return value_of(settings, "proxy", "off") in ("on", "readonly")


def member_of(inspected: Inspected) -> Member:
    """Return the member on this host. Raise Unreadable if the member list does not contain it."""
    version = inspected.answer.version
    if version is None:
        raise Unreadable(f"etcd did not answer on its peer port: {inspected.answer.why}")
    settings = settings_of_process(inspected.process, version.series)
    name = value_of(settings, "name", "default")
    advertised = set(urls_of(settings, "initial-advertise-peer-urls", DEFAULT_PEER_URL))
    found = [each for each in inspected.answer.members if each.name == name]
    exact = [each for each in found if advertised & set(each.peer_urls)]
    own = (exact or found)[:2]
    if len(own) != 1:
        raise Unreadable(
            f"the member list has {len(own) or 'no'} members that can be `{one_line(name, 100)}` here"
        )
    return Member(inspected, settings, own[0], version)


def parse_url(text: str) -> Url:
    """Return the parts of a URL. Raise Unreadable if etcd would not accept it."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or port is None or parts.scheme not in ("http", "https"):
        raise Unreadable(f"`{one_line(text, 200)}` is not a URL of a member")
    return Url(text, parts.scheme, host, port)


def plain_client_urls(settings: Settings) -> tuple[str, ...]:
    """Return the URLs at which clients of other hosts connect with http."""
    urls = map(parse_url, urls_of(settings, "listen-client-urls", DEFAULT_CLIENT_URL))
    return tuple(
        one_line(url.text, 200) for url in urls if url.scheme == "http" and not is_loopback(url.host)
    )


def absolute(process: Process, path: str) -> str:
    """Return the path, from the working directory of the process if it is relative. Empty stays empty."""
    if not path:
        return ""
    full = str(PurePosixPath(process.cwd or "/") / path)
    if not _PATH.fullmatch(full):
        raise Unreadable(f"the path `{one_line(full, 200)}` has a character that etcdup does not accept")
    return full


def host_path(process: Process, path: str) -> str | None:
    """Return where a path of a process is on the host, None if the host has it nowhere."""
    if not process.container or not path:
        return path
    fitting = [
        (point.rstrip("/"), source)
        for source, point in process.mounts
        if point != "/" and (path == point or path.startswith(point.rstrip("/") + "/"))
    ]
    if not fitting:
        return None
    point, source = max(fitting, key=lambda each: len(each[0]))
    return source and (source.rstrip("/") + path[len(point) :] or "/")


@dataclass(frozen=True)
class FilesToRead:
    """What the second script must read for a process."""

    certs: tuple[str, ...]
    keys: tuple[str, ...]
    folders: tuple[str, ...]
    urls: tuple[str, ...]
    tls: tuple[str, str, str]
    ports: frozenset[int]


def files_to_read(process: Process) -> FilesToRead:
    """Return the files that the settings of a process name, and the peer URLs at which it answers."""
    settings = settings_of_process(process)

    def path(flag: str) -> str:
        return absolute(process, value_of(settings, flag))

    certs = [path(prefix + flag) for prefix in ("", "peer-") for flag in ("trusted-ca-file", "cert-file")]
    data = path("data-dir") or absolute(process, f"{value_of(settings, 'name', 'default')}.etcd")
    listens = urls_of(settings, "listen-client-urls", DEFAULT_CLIENT_URL)
    return FilesToRead(
        certs=tuple(filter(None, certs)),
        keys=tuple(key for cert in (certs[0], certs[2]) for key in ca_keys(cert)),
        folders=tuple(filter(None, (data, path("wal-dir")))),
        urls=tuple(_peer_urls(settings)),
        tls=tuple(path(f"peer-{flag}") for flag in TLS_FILES),  # type: ignore[arg-type]
        ports=frozenset(parse_url(each).port for each in listens),
    )


def ca_keys(path: str) -> list[str]:
    """Return where the key of this CA file may be. Only whether such a file exists is read."""
    cert = PurePosixPath(path)
    if not cert.name:  # no path, or the root directory
        return []
    found = [cert.with_suffix(".key"), cert.with_name(f"{cert.stem}-key{cert.suffix}")]
    return list(dict.fromkeys(map(str, (*found, *(cert.parent / name for name in CA_KEYS)))))


def _peer_urls(settings: Settings) -> list[str]:
    """Return the URLs to request: those that peers use, then those that it listens on."""
    advertised = map(parse_url, urls_of(settings, "initial-advertise-peer-urls", DEFAULT_PEER_URL))
    listens = map(parse_url, urls_of(settings, "listen-peer-urls", DEFAULT_PEER_URL))
    found = [url.text.rstrip("/") for url in advertised]
    found += [url.text.rstrip("/") for url in listens if url.host not in ("0.0.0.0", "::")]  # noqa: S104
    return list(dict.fromkeys(found))[:4]
