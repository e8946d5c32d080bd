"""Read a member's Prometheus metrics: from its metrics port (rule 85), or from its client port without one."""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from etcdup.core.audit.findings import LeaderChanges
from etcdup.core.audit.inspection import parse_leaders
from etcdup.core.audit.process_settings import urls_of
from etcdup.core.certs.exports import ClientFiles
from etcdup.core.spec.plain_value import is_member_url
from etcdup.errors import RemoteError
from etcdup.ops.world.open import ANY_ADDRESS
from etcdup.remote.etcd.tls import context_for_ca
from etcdup.remote.host import Host

TIMEOUT_S = 5.0
_MOST_BYTES = 8 << 20
_URLS = ("listen-metrics-urls", "listen-client-urls")


async def read_leader_changes(
    host: Host, settings: Mapping[str, str], client: ClientFiles | None, now: float
) -> LeaderChanges:
    """Return the number of leader changes since the member started, or why it is not known.

    `settings` are those of the running process. `client` is the certificate for a port that requires one.
    """
    url = _metrics_url(settings, with_tls=client is not None)
    if url is None:
        return LeaderChanges(host.name, why="its metrics require a client certificate, and the PKI has none")
    try:
        tls = _context(client) if client is not None and url.scheme == "https" else None
        async with asyncio.timeout(TIMEOUT_S):
            text = await _get(*await _forward(host, url), tls)
    except TimeoutError:
        return LeaderChanges(host.name, why=f"its metrics were not received within {TIMEOUT_S:.0f} s")
    except RemoteError as error:
        return LeaderChanges(host.name, why=error.message.removeprefix(f"{host.name}: "))
    except OSError as error:
        return LeaderChanges(host.name, why=f"its metrics cannot be read: {error.strerror or error}")
    return parse_leaders(host.name, text, now)


def _metrics_url(settings: Mapping[str, str], *, with_tls: bool) -> SplitResult | None:
    """Return the URL of the metrics. Plain http comes first, since it requires no certificate."""
    urls = [urlsplit(url) for flag in _URLS for url in urls_of(settings, flag) if is_member_url(url)]
    schemes = ("http", "https") if with_tls else ("http",)
    return next(
        (url for scheme in schemes for url in urls if url.scheme == scheme and url.hostname and url.port),
        None,
    )


async def _forward(host: Host, url: SplitResult) -> tuple[str, int]:
    assert url.hostname is not None
    assert url.port is not None
    return await host.forward(ANY_ADDRESS.get(url.hostname, url.hostname), url.port)


def _context(client: ClientFiles) -> ssl.SSLContext:
    """Return a TLS context that does not check the name: the SSH host key already proves the host."""
    context = context_for_ca(Path(client.ca).read_bytes())
    context.check_hostname = False
    context.load_cert_chain(client.cert, client.key)
    return context


async def _get(address: str, port: int, tls: ssl.SSLContext | None) -> str:
    reader, writer = await asyncio.open_connection(address, port, limit=_MOST_BYTES, ssl=tls)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        await writer.drain()
        text = b""
        while len(text) < _MOST_BYTES and (piece := await reader.read(_MOST_BYTES)):
            text += piece
        return text.decode(errors="replace")
    finally:
        writer.close()
