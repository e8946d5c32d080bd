"""The login as a user of etcd: when it is done, how often, and what a failure says."""

import asyncio

import pytest

from etcdup.errors import EtcdupError
from etcdup.remote.etcd.client import Access
from etcdup.remote.etcd.errors import AuthRequired, EtcdTimeout
from etcdup.remote.etcd.login import Login
from tests.support.texts import Texts

DENIED = AuthRequired("m1", "etcdserver: permission denied")
OLD = AuthRequired("m1", "auth: invalid auth token")


class FakeMember:
    """A member that counts logins. `failure` is the answer to each of them."""

    name = "m1"

    def __init__(self, *, auth: bool = True, failure: EtcdupError | None = None) -> None:
        self.auth, self.failure = auth, failure
        self.logins = 0
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()

    async def is_auth_enabled(self, *, timeout_s: float) -> bool:
        return self.auth

    async def authenticate(self, user: str, password: str, *, timeout_s: float) -> str:
        self.logins += 1
        self.was_asked.set()
        await self.may_answer.wait()
        if self.failure:
            raise self.failure
        return f"{user}:{password}:{self.logins}"


def login_of(member: FakeMember, failure: EtcdupError | None = None) -> Login:
    async def password() -> str:
        if failure:
            raise failure
        return "secret"

    return Login(member, Access("root", password))


async def test_requests_at_the_same_time_share_a_login() -> None:
    member = FakeMember()
    login = login_of(member)
    assert await asyncio.gather(*(login.renew(DENIED, "") for _ in range(5))) == ["root:secret:1"] * 5
    # Another request was refused before that login.
    assert await login.renew(DENIED, "") == "root:secret:1"
    assert (
        await asyncio.gather(*(login.renew(OLD, "root:secret:1") for _ in range(5))) == ["root:secret:2"] * 5
    )


async def test_a_cancelled_request_does_not_cancel_the_login_of_others() -> None:
    member = FakeMember()
    login = login_of(member)
    member.may_answer.clear()
    first, second = (asyncio.create_task(login.renew(DENIED, "")) for _ in range(2))
    await member.was_asked.wait()
    first.cancel()
    member.may_answer.set()
    assert await second == "root:secret:1"


@pytest.mark.parametrize(
    "text",
    [
        "auth: invalid auth token",
        "etcdserver: revision of auth store is old",
        "auth: revision in header is old",
    ],
)
async def test_an_old_token_is_renewed(text: str) -> None:
    login = login_of(FakeMember())
    token = await login.renew(DENIED, "")
    assert await login.renew(AuthRequired("m1", text), token) == "root:secret:2"


async def test_a_token_that_got_no_answer_is_renewed() -> None:
    login = login_of(FakeMember())
    first = await login.renew(DENIED, "")
    login.forget("another")
    assert login.token == first
    login.forget(first)
    assert login.token == ""
    assert await login.renew(OLD, first) == "root:secret:2"


async def test_a_user_without_rights_does_not_log_in_again(texts: Texts) -> None:
    member = FakeMember()
    login = login_of(member)
    token = await login.renew(DENIED, "")
    with pytest.raises(AuthRequired) as caught:
        await login.renew(DENIED, token)
    texts(caught.value)
    assert member.logins == 1


async def test_a_wrong_password_is_sent_once(texts: Texts) -> None:
    member = FakeMember(
        failure=AuthRequired("m1", "etcdserver: authentication failed, invalid user ID or password")
    )
    login = login_of(member)
    for _ in range(3):
        with pytest.raises(AuthRequired) as failed:
            await login.renew(DENIED, "")
        texts(failed.value)
        assert "secret" not in f"{failed.value}{failed.value.hint}{failed.value.detail}"
    assert member.logins == 1


async def test_after_a_timeout_the_next_request_logs_in() -> None:
    member = FakeMember(failure=EtcdTimeout("m1", "no answer"))
    login = login_of(member)
    with pytest.raises(EtcdTimeout):
        await login.renew(DENIED, "")
    member.failure = None
    assert await login.renew(DENIED, "") == "root:secret:2"


async def test_without_a_password_the_cause_is_named(texts: Texts) -> None:
    member = FakeMember()
    login = login_of(member, EtcdupError("the command exited with status 1", hint="run it"))
    with pytest.raises(AuthRequired) as failed:
        await login.renew(DENIED, "")
    texts(failed.value)
    assert member.logins == 0


async def test_while_users_are_not_enabled_no_password_is_needed() -> None:
    login = login_of(FakeMember(auth=False), EtcdupError("the command was run"))
    assert await login.renew(DENIED, "") == ""


def test_no_text_of_an_access_has_a_secret() -> None:
    login = login_of(FakeMember.__new__(FakeMember))
    login.token = "hunter2"
    assert "hunter2" not in repr(login)
