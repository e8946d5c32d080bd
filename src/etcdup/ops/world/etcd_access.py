"""The password of `etcd.access`, from the command of the operator. It is only in the memory of this process."""

import asyncio
from pathlib import Path

from etcdup.core.spec.model import AccessSpec, Spec
from etcdup.errors import EtcdupError
from etcdup.ops.operator_command import SecretCommandError, first_line
from etcdup.remote.etcd.client import Access

KEY = "etcd.access.password_command"
_HINT = "run the command in your shell; it must print the password as its first line"


def etcd_access(spec: Spec, folder: Path) -> Access | None:
    """Return the user of `etcd.access`, None without this key. `folder` is the directory of cluster.yaml.

    The command runs once, when the first member needs the password. All members wait for it.
    """
    if spec.etcd.access is None:
        return None
    return Access(spec.etcd.access.user, _Password(spec.etcd.access, folder).read)


class _Password:
    def __init__(self, access: AccessSpec, folder: Path) -> None:
        self._access = access
        self._folder = folder
        self._reading: asyncio.Task[str] | None = None

    async def read(self) -> str:
        """Return the password, or raise the same EtcdupError as at the first call."""
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(self._run))
        return await asyncio.shield(self._reading)

    def _run(self) -> str:
        try:
            password = first_line(KEY, self._access.password_command, self._folder)
        except SecretCommandError as failed:
            raise EtcdupError(str(failed), hint=_HINT) from None
        if not password:
            raise EtcdupError(f"the output of {KEY} is empty", hint=_HINT)
        return password
