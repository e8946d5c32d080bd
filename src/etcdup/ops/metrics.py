"""What a member says of itself in Prometheus' text, on its own metrics port (rule 85)."""

import asyncio
from urllib.parse import urlsplit

from etcdup.core.closer_look import parse_leaders
from etcdup.core.findings import Leaders
from etcdup.core.observed import HostSeen
from etcdup.errors import RemoteError
from etcdup.remote.host import Host

URLS_VARIABLE = "ETCD_LISTEN_METRICS_URLS"
TIMEOUT_S = 5.0
_MOST_BYTES = 8 << 20


async def leaders_seen(host: Host, seen: HostSeen, now: float) -> Leaders | None:
    """How often the member saw the leader change since it started; None where it does not say."""
    url = urlsplit(seen.unit.environment.get(URLS_VARIABLE, "").partition(",")[0])
    if url.scheme != "http" or url.hostname is None or url.port is None:
        return None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            text = await _get(*await host.forward(url.hostname, url.port))
    except (TimeoutError, OSError, RemoteError):
        return None
    return parse_leaders(host.name, text, now)


async def _get(address: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(address, port, limit=_MOST_BYTES)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        await writer.drain()
        return (await reader.read()).decode(errors="replace")
    finally:
        writer.close()
