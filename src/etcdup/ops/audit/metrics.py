"""Read from the metrics of a member how often its leader changed."""

import ssl
from collections.abc import Mapping
from pathlib import Path

from etcdup.core.audit.findings import LeaderChanges
from etcdup.core.audit.inspection import parse_leaders
from etcdup.core.certs.exports import ClientFiles
from etcdup.ops.world.metrics import NoMetrics, read_metrics
from etcdup.remote.etcd.tls import context_for_ca
from etcdup.remote.host import Host


async def read_leader_changes(
    host: Host, settings: Mapping[str, str], client: ClientFiles | None, now: float
) -> LeaderChanges:
    """Return the number of leader changes since the member started, or why it is not known.

    `settings` are those of the running process. `client` is the certificate for a port that requires one.
    """
    try:
        text = await read_metrics(host, settings, None if client is None else lambda: _context(client))
    except NoMetrics as error:
        return LeaderChanges(host.name, why=error.message)
    return parse_leaders(host.name, text, now)


def _context(client: ClientFiles) -> ssl.SSLContext:
    """Return a TLS context that does not check the name: the SSH host key already proves the host."""
    context = context_for_ca(Path(client.ca).read_bytes())
    context.check_hostname = False
    context.load_cert_chain(client.cert, client.key)
    return context
