"""Passphrases and sudo passwords. etcdup prompts for each of them once, and never stores them."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

SUDO_PASSWORD_VARIABLE = "ETCDUP_SUDO_PASSWORD"  # noqa: S105
KEY_PASSPHRASE_VARIABLE = "ETCDUP_SSH_PASSPHRASE"  # noqa: S105

SUDO_PROMPT = "Password for sudo on the hosts (empty: type one for each host): "

# Show a prompt without echo. The result is None if there is no terminal.
AskOperator = Callable[[str], Awaitable[str | None]]


def sudo_password_variable(host: str) -> str:
    """Return the variable with the sudo password of one host: of `infra-1` it is `ETCDUP_SUDO_PASSWORD_INFRA_1`."""
    return f"{SUDO_PASSWORD_VARIABLE}_{re.sub('[^A-Z0-9]', '_', host.upper())}"


class SshSecrets(Protocol):
    """Secrets of the operator. None means that the secret is not known and there is no terminal."""

    async def passphrase(self, key_file: str) -> str | None: ...

    async def sudo_password(self, host: str) -> str | None: ...


class Secrets:
    """Secrets from the environment, or from a prompt: one prompt for each secret, for all hosts together.

    Hosts can have different sudo passwords: a variable for a host counts before the one for all hosts, and an empty
    answer to the prompt for all hosts leads to a prompt for each host. Then no host gets the password of another one.
    """

    def __init__(self, ask: AskOperator | None = None, *, environ: Mapping[str, str] = os.environ) -> None:
        self._ask = ask
        self._environ = environ
        self._answers: dict[str, str | None] = {}
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return "Secrets(...)"

    async def passphrase(self, key_file: str) -> str | None:
        return await self._ask_once(KEY_PASSPHRASE_VARIABLE, f"Passphrase for {key_file}: ")

    async def sudo_password(self, host: str) -> str | None:
        variable = sudo_password_variable(host)
        if variable in self._environ:
            return self._environ[variable]
        shared = await self._ask_once(SUDO_PASSWORD_VARIABLE, SUDO_PROMPT)
        if shared or shared is None or SUDO_PASSWORD_VARIABLE in self._environ:
            return shared
        return await self._ask_once(variable, f"Password for sudo on {host}: ")

    async def _ask_once(self, variable: str, prompt: str) -> str | None:
        if variable in self._environ:
            return self._environ[variable]
        async with self._asking:
            if prompt not in self._answers:
                self._answers[prompt] = await self._ask(prompt) if self._ask else None
            return self._answers[prompt]
