"""Each member must connect to the https peer port of each other one before the member list has these URLs."""

from collections.abc import Sequence
from typing import cast

import pytest

from etcdup.core.adopt.member import member_of
from etcdup.ops.adopt.check_tls_ports import refuse_closed_ports
from etcdup.remote.host import Host, Result
from tests.support.adopt_shapes import CLUSTER
from tests.support.plain_clusters import AS_FLAGS, done, plain, step_of
from tests.support.texts import Texts

URL = "https://10.0.0.2:2382"


class Answers:
    """A host whose requests to one URL have this answer, and whose other requests succeed."""

    def __init__(self, host: str, answer: str) -> None:
        self.name, self.answer = host, answer
        self.asked: list[str] = []

    async def run(self, argv: Sequence[str], *, timeout_s: float) -> Result:
        url = argv[argv.index("peer") + 1]
        self.asked.append(url)
        answer = self.answer if url == URL else answer_of(CLUSTER)
        return Result(self.name, tuple(argv), 0, printed(url, answer), "")


def answer_of(cluster: str) -> str:
    head = f"=HTTP/1.1 200 OK\n=X-Etcd-Cluster-Id: {cluster}\n=\n"
    return f'{head}=[{{"id": 1, "name": "infra1", "peerURLs": ["http://10.0.0.1:2380"]}}]'


def printed(url: str, answer: str) -> str:
    version = '=HTTP/1.1 200 OK\n=\n={"etcdserver": "3.6.14"}'
    return f"@peer {url}\n{answer}\n@version {url}\n{version}\n@end\n"


ANSWERS = {
    "open": (answer_of(CLUSTER), 0),
    "closed": ("=curl: (7) Failed to connect to 10.0.0.2 port 2382: Connection refused", 2),
    "another cluster": (answer_of("7"), 2),
    "no etcd": ("=HTTP/1.1 200 OK\n=\n=<html>", 2),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_each_member_connects_to_each_other_one(case: str, texts: Texts) -> None:
    answer, count = ANSWERS[case]
    seen = plain(AS_FLAGS)
    while (found := step_of(seen)).step == "restart":
        seen = done(seen, found.left[0])
    members = [member_of(each) for each in seen]
    hosts = {each.host: Answers(each.host, answer) for each in seen}
    refused = await refuse_closed_ports(cast("dict[str, Host]", hosts), members)
    assert len(refused) == count
    assert [len(each.asked) for each in hosts.values()] == [2, 2, 2]
    if refused:
        texts(refused[0])
