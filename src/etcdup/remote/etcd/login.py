"""The login of etcdup as a user of etcd (`etcd.access`), and the token that each request then has.

etcdup logs in when it observes its rights, or when etcd refuses a request. So a cluster without users needs no
password, and the status of a member needs none as long as clients need a certificate. A login needs a quorum.
"""

import asyncio
from typing import Protocol

from etcdup.core.etcd.login_errors import NO_PASSWORD, needs_new_token
from etcdup.errors import EtcdupError
from etcdup.remote.etcd.client import Access
from etcdup.remote.etcd.errors import AuthRequired

# etcd computes bcrypt for each login, which takes longer than any other request.
LOGIN_TIMEOUT_S = 10.0


class Member(Protocol):
    """What a login needs of the client of a member."""

    name: str

    async def is_auth_enabled(self, *, timeout_s: float) -> bool: ...

    async def authenticate(self, user: str, password: str, *, timeout_s: float) -> str:
        """Return the token of this user."""
        ...


class Login:
    """The token of one user at one member. Tokens are in the memory of a member, so its restart ends them."""

    def __init__(self, member: Member, access: Access) -> None:
        self.token = ""
        self._member = member
        self._access = access
        self._running: asyncio.Task[str] | None = None
        self._refused: AuthRequired | None = None

    def __repr__(self) -> str:
        return "Login(...)"

    async def renew(self, refused: AuthRequired, used: str) -> str:
        """Return a token for a second attempt of the request that etcd has refused with the token `used`.

        Raises `refused` if another token does not help, and AuthRequired if the login fails. Requests at the same time
        share one login. A password that etcd does not accept is sent once.
        """
        if used and not needs_new_token(refused.message):
            raise refused
        if self._refused is not None:
            raise self._refused
        if self.token in ("", used):
            if self._running is None:
                self._running = asyncio.create_task(self._log_in())
                self._running.add_done_callback(self._end)
            # A request that is cancelled does not cancel the login of the others.
            await asyncio.shield(self._running)
        return self.token

    def forget(self, used: str) -> None:
        """Log in again before the next request that needs it: a request had no answer, or the connection broke.

        A token contains the raft index of its login, and a member waits until it has reached this index. After a
        restore, the indexes begin again, so that it would wait in vain.
        """
        if self.token == used:
            self.token = ""

    def close(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _end(self, task: asyncio.Task[str]) -> None:
        self._running = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.token = task.result()
        elif isinstance(error, AuthRequired):
            self._refused = error

    async def _log_in(self) -> str:
        """Return a token, or an empty text if the users of etcd are not enabled: a user that does not exist can be the
        answer to a request too."""
        if not await self._member.is_auth_enabled(timeout_s=LOGIN_TIMEOUT_S):
            return ""
        name = self._member.name
        try:
            password = await self._access.password()
        except EtcdupError as error:
            raise AuthRequired(name, f"{NO_PASSWORD}{error.message}", hint=error.hint) from None
        try:
            return await self._member.authenticate(self._access.user, password, timeout_s=LOGIN_TIMEOUT_S)
        except AuthRequired as refused:
            hint = "correct `etcd.access` in cluster.yaml"
            raise AuthRequired(name, refused.message.removeprefix(f"{name}: "), hint=hint) from None
