"""Read a member's Prometheus metrics: from its metrics port (rule 85), or from its client port without one."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, urlsplit

from etcdup.core.audit.process_settings import urls_of
from etcdup.core.spec.address import LOOPBACK, is_any_address
from etcdup.core.spec.plain_value import is_member_url
from etcdup.errors import EtcdupError, RemoteError
from etcdup.remote.host import Host

TIMEOUT_S = 5.0
_MOST_BYTES = 8 << 20
_URLS = ("listen-metrics-urls", "listen-client-urls")

# Return the TLS context for a port that requires a client certificate.
TlsContext = Callable[[], ssl.SSLContext]


class NoMetrics(EtcdupError):
    """The metrics of a member cannot be read. The message says why, without the name of the member."""


async def read_metrics(host: Host, settings: Mapping[str, str], tls: TlsContext | None) -> str:
    """Return the metrics of a member. Raises NoMetrics.

    `settings` are those of the running process. Without `tls`, only ports without TLS are read.
    """
    url = _metrics_url(settings, with_tls=tls is not None)
    if url is None:
        raise NoMetrics("its metrics require a client certificate, and the PKI has none")
    try:
        context = tls() if tls is not None and url.scheme == "https" else None
        async with asyncio.timeout(TIMEOUT_S):
            return await _get(*await _forward(host, url), context)
    except TimeoutError:
        raise NoMetrics(f"its metrics were not received within {TIMEOUT_S:.0f} s") from None
    except RemoteError as error:
        raise NoMetrics(error.message.removeprefix(f"{host.name}: ")) from None
    except OSError as error:
        raise NoMetrics(f"its metrics cannot be read: {error.strerror or error}") from None


def _metrics_url(settings: Mapping[str, str], *, with_tls: bool) -> SplitResult | None:
    """Return the URL of the metrics. Plain http comes first, since it requires no certificate."""
    urls = [urlsplit(url) for flag in _URLS for url in urls_of(settings, flag) if is_member_url(url)]
    schemes = ("http", "https") if with_tls else ("http",)
    return next(
        (url for scheme in schemes for url in urls if url.scheme == scheme and url.hostname and url.port),
        None,
    )


def reached_address(listen: str) -> str:
    """Return the address for a connection on the host itself to a program that listens on `listen`.

    A member that listens on all addresses is reached at 127.0.0.1. `[::]` contains it too.
    """
    return LOOPBACK if is_any_address(listen) else listen


async def _forward(host: Host, url: SplitResult) -> tuple[str, int]:
    assert url.hostname is not None
    assert url.port is not None
    return await host.forward(reached_address(url.hostname), url.port)


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
