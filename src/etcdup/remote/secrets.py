"""Where passphrases and the sudo password come from. They are asked for once, and never stored."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

SUDO_PASSWORD_VARIABLE = "ETCDUP_SUDO_PASSWORD"  # noqa: S105
KEY_PASSPHRASE_VARIABLE = "ETCDUP_SSH_PASSPHRASE"  # noqa: S105

# Shows a prompt without echo; None where nobody can be asked.
AskOperator = Callable[[str], Awaitable[str | None]]


class SshSecrets(Protocol):
    """What only the operator knows. None means: not known, and nobody there to ask."""

    async def passphrase(self, key_file: str) -> str | None: ...

    async def sudo_password(self) -> str | None: ...


class Secrets:
    """Secrets from the environment, else by asking: once for each, however many hosts want them."""

    def __init__(self, ask: AskOperator | None = None, *, environ: Mapping[str, str] = os.environ) -> None:
        self._ask = ask
        self._environ = environ
        self._answers: dict[str, str | None] = {}
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return "Secrets(...)"

    async def passphrase(self, key_file: str) -> str | None:
        return await self._ask_once(KEY_PASSPHRASE_VARIABLE, f"Passphrase for {key_file}: ")

    async def sudo_password(self) -> str | None:
        return await self._ask_once(SUDO_PASSWORD_VARIABLE, "Password for sudo on the hosts: ")

    async def _ask_once(self, variable: str, prompt: str) -> str | None:
        if variable in self._environ:
            return self._environ[variable]
        async with self._asking:
            if prompt not in self._answers:
                self._answers[prompt] = await self._ask(prompt) if self._ask else None
            return self._answers[prompt]
