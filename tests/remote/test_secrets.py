"""etcdup prompts for each secret once, and not at all if the environment has it."""

import asyncio

from etcdup.remote.secrets import Secrets


async def test_many_hosts_prompt_once() -> None:
    prompts: list[str] = []

    async def ask(prompt: str) -> str | None:
        prompts.append(prompt)
        await asyncio.sleep(0)
        return "answer"

    secrets = Secrets(ask, environ={})
    assert await asyncio.gather(*(secrets.sudo_password() for _ in range(5))) == ["answer"] * 5
    assert await secrets.passphrase("/a") == "answer"
    assert await secrets.passphrase("/b") == "answer"
    assert len(prompts) == 3


async def test_no_answer_is_remembered_too() -> None:
    prompts: list[str] = []

    async def ask(prompt: str) -> None:
        prompts.append(prompt)

    secrets = Secrets(ask, environ={})
    assert await secrets.sudo_password() is None
    assert await secrets.sudo_password() is None
    assert len(prompts) == 1
    assert await Secrets(environ={}).passphrase("/a") is None


async def test_the_environment_counts_first() -> None:
    environ = {"ETCDUP_SUDO_PASSWORD": "one", "ETCDUP_SSH_PASSPHRASE": "two"}
    secrets = Secrets(environ=environ)
    assert (await secrets.sudo_password(), await secrets.passphrase("/a")) == ("one", "two")
    assert "one" not in repr(secrets)
