"""The clients of the members: one for each member, with the certificate of etcdup."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from etcdup.core.certs.required import verified_name
from etcdup.core.spec.address import LOOPBACK
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.errors import PkiError
from etcdup.ops.pki.pki import Pki, missing_admin
from etcdup.ops.world.ports import DIRECT_TIMEOUT_S, resolve_member_target
from etcdup.remote.etcd.errors import EtcdRpcError, EtcdUnavailable
from etcdup.remote.etcd.grpc_client import Access, Credentials, Etcd, EtcdClient
from etcdup.remote.host import Host


class MemberClients:
    """One client for each member, made when it is first used, and again when etcdup's own certificate was replaced."""

    def __init__(self, spec: Spec, hosts: Mapping[str, Host], pki: Pki, access: Access | None = None) -> None:
        self._access = access
        self.host_specs = {host.name: host for host in spec.hosts}
        self._spec = spec
        self._hosts = hosts
        self._pki = pki
        self._clients: dict[str, Etcd] = {}
        self._direct: dict[str, Etcd] = {}
        self._credentials: Credentials | None = None
        self._stamp = 0
        self._replaced: list[Etcd] = []
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connect(self, name: str) -> EtcdClient:
        """Return a client through the SSH connection to the host.

        Raises EtcdRpcError if there is no client certificate, and RemoteError if the port cannot be forwarded.
        """
        if name not in self.host_specs:
            raise EtcdUnavailable(name, "etcdup does not connect to a member that only the member list names")
        async with self._making[name]:
            self._forget_replaced_credentials()
            if name not in self._clients:
                self._credentials = self._credentials or self._read_credentials(name)
                host_spec = self.host_specs[name]
                target = await resolve_member_target(self._spec, host_spec, self._hosts.get(name))
                self._clients[name] = Etcd(
                    name, target, self._server_name(host_spec), self._credentials, self._access
                )
            return self._clients[name]

    async def connect_directly(self, name: str) -> EtcdClient:
        """Return a client that does not use SSH, or that of `connect` if the client port is not reachable from here.

        SSH doubles the time that large data takes. The member's certificate proves that the right member answers, even
        if another machine has the same address in the operator's network.
        """
        through = await self.connect(name)
        if name not in self._direct:
            host_spec, credentials = self.host_specs[name], self._credentials
            assert credentials is not None, "`connect` has read them"
            target = await resolve_member_target(self._spec, host_spec, None)
            server_name = self._server_name(host_spec)
            self._direct[name] = Etcd(name, target, server_name, credentials, self._access)
        try:
            await self._direct[name].status(timeout_s=DIRECT_TIMEOUT_S)
        except EtcdRpcError:
            return through
        return self._direct[name]

    async def connect_temporary(
        self, name: str, listen: str, port: int, credentials: Credentials
    ) -> EtcdClient:
        """Return a client of an etcd that listens on this address of the host, with a certificate for loopback."""
        address, forwarded = await self._hosts[name].forward(listen, port)
        return Etcd(name, f"{address}:{forwarded}", server_name=LOOPBACK, credentials=credentials)

    async def close(self) -> None:
        clients = (*self._clients.values(), *self._direct.values(), *self._replaced)
        await asyncio.gather(*(client.close() for client in clients))

    def _server_name(self, host: HostSpec) -> str:
        # Without `listen_address` the certificate does not matter. Reading the PKI takes milliseconds for each host.
        cert = self._pki.observe().certs.get(f"server/{host.name}") if host.listen_address else None
        return verified_name(host, cert)

    def _forget_replaced_credentials(self) -> None:
        """Make new clients if the certificate was replaced: members may reject the previous one."""
        try:
            stamp = self._pki.paths("admin")[0].stat().st_mtime_ns
        except (OSError, PkiError):
            return
        if self._credentials is not None and stamp != self._stamp:
            self._replaced += [*self._clients.values(), *self._direct.values()]
            self._clients.clear()
            self._direct.clear()
            self._credentials = None
        self._stamp = stamp

    def _read_credentials(self, name: str) -> Credentials:
        try:
            if "admin" not in (seen := self._pki.observe()).files:
                raise missing_admin(seen, self._spec.tls.dir)
            return Credentials(*self._pki.credentials())
        except PkiError as error:
            raise EtcdRpcError(name, error.message, detail=error.detail, hint=error.hint) from None
