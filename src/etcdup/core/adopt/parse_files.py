"""Parse the output of the second script: certificates, keys that exist, directories, answers of a member."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from etcdup.core.adopt.model import Answer, Folder, Unreadable
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.sections import sections_of
from etcdup.core.spec.plain_value import is_member_name, is_member_url
from etcdup.core.spec.units import WrongValue
from etcdup.core.spec.version import parse_version
from etcdup.core.spec.visible import one_line

MAX_MEMBERS = 64
MAX_URLS = 16
_CLUSTER_ID = re.compile(r"(?im)^x-etcd-cluster-id:\s*([0-9a-f]{1,16})\s*$")
_MODE = re.compile(r"[0-7]{1,4}")


@dataclass(frozen=True)
class Files:
    """What the script printed: the PEM text of certificates by path, and the rest."""

    pems: Mapping[str, str] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    folders: Mapping[str, Folder] = field(default_factory=dict)
    answer: Answer = field(default_factory=Answer)


def parse_files(output: str) -> Files:
    """Return what the script printed. Raise Unreadable for anything that it does not print."""
    try:
        sections = sections_of(output.split("\n"), once=True)
    except ValueError as error:
        raise Unreadable(one_line(str(error))) from None
    if "end" not in sections:
        raise Unreadable("the output of the script is not complete")
    found = {name: [line[1:] for line in lines if line[:1] == "="] for name, lines in sections.items()}
    return Files(
        pems={path: "\n".join(lines) + "\n" for path, lines in _of_kind(found, "cert") if lines},
        keys=frozenset(path for path, lines in _of_kind(found, "key") if lines == ["exists"]),
        folders={path: _folder(lines) for path, lines in _of_kind(found, "folder") if lines},
        answer=_first_answer(found),
    )


def _of_kind(found: Mapping[str, list[str]], kind: str) -> list[tuple[str, list[str]]]:
    return [
        (name.removeprefix(f"{kind} "), lines) for name, lines in found.items() if name.startswith(f"{kind} ")
    ]


def _folder(lines: list[str]) -> Folder:
    real, mode, owner, mount = [*lines, "", "", "", ""][:4]
    if not _MODE.fullmatch(mode):
        raise Unreadable("the rights of the data directory are not readable")
    return Folder(*(one_line(each, 4096) for each in (real, mode, owner, mount)))


def _first_answer(found: Mapping[str, list[str]]) -> Answer:
    """Return the first answer of the member. Without one, return why the first request had none."""
    whys = []
    for url, lines in _of_kind(found, "peer"):
        text = "\n".join(lines)
        if not text.startswith("HTTP/"):
            whys.append(one_line(f"{url}: {text}" if text else f"{url}: no answer", 300))
            continue
        return _answer(text, "\n".join(found.get(f"version {url}", [])))
    return Answer(why=next(iter(whys), "no peer URL was tried"))


def _answer(members: str, version: str) -> Answer:
    cluster = _CLUSTER_ID.search(members.partition("\n\n")[0].replace("\r", ""))
    if cluster is None:
        raise Unreadable("the answer of the member has no cluster ID")
    listed = _json_of(members)
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_MEMBERS:
        raise Unreadable("the member list is not a list of 1 to 64 members")
    try:
        found = _json_of(version)
        running = parse_version(found.get("etcdserver") if isinstance(found, dict) else None)
    except WrongValue as wrong:
        raise Unreadable(f"the version of etcd: {one_line(str(wrong), 200)}") from None
    return Answer(f"{int(cluster[1], 16):x}", tuple(sorted(map(_member, listed), key=_by_id)), running)


def _json_of(response: str) -> Any:
    _, _, body = response.replace("\r", "").partition("\n\n")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable("the answer of the member is not JSON") from None


def _by_id(member: ListedMember) -> int:
    return member.member_id


def _member(entry: object) -> ListedMember:
    """Return an entry of the list. Raise Unreadable if an ID, a name or a URL is not valid."""
    if not isinstance(entry, dict):
        raise Unreadable("an entry of the member list is not a table")
    member_id, name = entry.get("id"), entry.get("name", "")
    peers, clients = entry.get("peerURLs"), entry.get("clientURLs") or []
    if isinstance(member_id, bool) or not isinstance(member_id, int) or not 0 < member_id < 1 << 64:
        raise Unreadable("a member has an ID that is not valid")
    # A member that has not started has no name.
    if name != "" and not is_member_name(name):
        raise Unreadable(f"a member has a name that is not valid: {one_line(str(name), 100)}")
    if not _are_urls(peers) or not peers or not _are_urls(clients):
        raise Unreadable(f"member {member_id:x} has URLs that are not valid")
    return ListedMember(member_id, name, tuple(peers), tuple(clients), entry.get("isLearner") is True)


def _are_urls(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_URLS and all(map(is_member_url, value))
