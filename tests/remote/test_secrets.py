"""etcdup prompts for each secret once, and not at all if the environment has it."""

import asyncio

from etcdup.remote.secrets import SUDO_PROMPT, Secrets


async def test_many_hosts_prompt_once() -> None:
    prompts: list[str] = []

    async def ask(prompt: str) -> str | None:
        prompts.append(prompt)
        await asyncio.sleep(0)
        return "answer"

    secrets = Secrets(ask, environ={})
    assert (
        await asyncio.gather(*(secrets.sudo_password(f"infra{each}") for each in range(5))) == ["answer"] * 5
    )
    assert await secrets.passphrase("/a") == "answer"
    assert await secrets.passphrase("/b") == "answer"
    assert len(prompts) == 3


async def test_no_answer_is_remembered_too() -> None:
    prompts: list[str] = []

    async def ask(prompt: str) -> None:
        prompts.append(prompt)

    secrets = Secrets(ask, environ={})
    assert await secrets.sudo_password("infra1") is None
    assert await secrets.sudo_password("infra1") is None
    assert len(prompts) == 1
    assert await Secrets(environ={}).passphrase("/a") is None


async def test_the_environment_counts_first() -> None:
    environ = {"ETCDUP_SUDO_PASSWORD": "one", "ETCDUP_SSH_PASSPHRASE": "two"}
    secrets = Secrets(environ=environ)
    assert (await secrets.sudo_password("infra1"), await secrets.passphrase("/a")) == ("one", "two")
    assert "one" not in repr(secrets)


async def test_each_host_can_have_its_own_sudo_password() -> None:
    environ = {"ETCDUP_SUDO_PASSWORD": "all", "ETCDUP_SUDO_PASSWORD_INFRA_2": "two"}
    secrets = Secrets(environ=environ)
    assert await secrets.sudo_password("infra-2") == "two"
    assert await secrets.sudo_password("infra-1") == "all"
    assert await Secrets(environ=environ | {"ETCDUP_SUDO_PASSWORD": ""}).sudo_password("infra-1") == ""


async def test_an_empty_answer_leads_to_a_prompt_for_each_host() -> None:
    prompts: list[str] = []

    async def ask(prompt: str) -> str | None:
        prompts.append(prompt)
        await asyncio.sleep(0)
        return "" if prompt == SUDO_PROMPT else f"answer to {prompt}"

    secrets = Secrets(ask, environ={})
    given = await asyncio.gather(*(secrets.sudo_password(host) for host in ("infra1", "infra2", "infra1")))
    assert given[0] == given[2] == "answer to Password for sudo on infra1: "
    assert given[1] == "answer to Password for sudo on infra2: "
    assert len(prompts) == 3
