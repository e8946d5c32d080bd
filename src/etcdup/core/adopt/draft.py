"""Draft a cluster.yaml from the inspected members. Pure: the same members give the same draft.

Every value is written, although many are the default of etcdup: the defaults of the tool that made the cluster differ.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from etcdup.core.adopt.changes import note_changes
from etcdup.core.adopt.hosts import common_keys, host_keys
from etcdup.core.adopt.member import Member
from etcdup.core.adopt.notes import Notes, folded
from etcdup.core.adopt.refusals import refuse_cluster
from etcdup.core.adopt.text import draft_text
from etcdup.core.adopt.tls import tls_keys
from etcdup.core.adopt.values import Key, environment_keys, extra_keys, install_keys, tuning_keys
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec, is_host_name
from etcdup.core.spec.version import Version
from etcdup.errors import BadFile

# Tokens that many clusters have: they do not name one.
_COMMON_TOKENS = ("etcd-cluster", "etcd", "default", "k8s-etcd", "etcd-cluster-0", "etcd-cluster-token")


@dataclass(frozen=True)
class Draft:
    """The text of a cluster.yaml that etcdup loads, and the four lists."""

    text: str
    spec: Spec
    stays: tuple[str, ...]
    changes: tuple[str, ...]
    lost: tuple[str, ...]
    decide: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What the operator chose: the name of the cluster, if any, and how SSH logs in to the hosts.

    `is_dry_run`: nothing is written. `with_ca_key`: etcdup may copy the key of the CA from a host. `pinned` are the
    releases whose checksum etcdup has, if that matters.
    """

    name: str = ""
    ssh_user: str = ""
    is_dry_run: bool = True
    with_ca_key: bool = False
    pinned: Collection[Version] | None = None

    @property
    def may_have_ca_key(self) -> bool:
        """Whether the draft is for a CA whose key etcdup has: a dry run shows that this is possible."""
        return self.is_dry_run or self.with_ca_key


def draft(members: Sequence[Member], wanted: Wanted, now: datetime) -> Draft | tuple[Refused, ...]:
    """Return the draft, or all reasons against one."""
    if refused := refuse_cluster(members, now):
        return refused
    notes = Notes()
    common = common_keys(members)
    text = draft_text(
        name=_cluster_name(members, wanted, notes),
        version=Key("version", str(members[0].version), "answer of the members"),
        hosts=[*host_keys(members, common)],
        ssh_user=wanted.ssh_user,
        install=[*install_keys(members, wanted.pinned)],
        etcd=[*common, *tuning_keys(members, notes)],
        extra=[*extra_keys(members, notes)],
        environment=[*environment_keys(members, notes)],
        tls=[*tls_keys(members, notes, is_dry_run=wanted.is_dry_run, with_ca_key=wanted.may_have_ca_key)],
        is_dry_run=wanted.is_dry_run,
    )
    try:
        spec = load(text, "the draft")
    except BadFile as bad:
        return tuple(
            Refused(f"cluster.yaml cannot describe this cluster: {problem.message}", problem.hint)
            for problem in bad.problems
        )
    if refused := tuple(_refuse_other_urls(spec, members)):
        return refused
    note_changes(members, spec, notes)
    names = [each.name for each in members]
    return Draft(
        text,
        spec,
        folded(notes.stays, names),
        folded(notes.changes, names),
        folded(notes.lost, names),
        folded(notes.decide, names),
    )


def _refuse_other_urls(spec: Spec, members: Sequence[Member]) -> Iterator[Refused]:
    """Refuse a draft from which etcdup would make another peer URL: the URL is part of the member (rule 5)."""
    for host, member in zip(spec.hosts, members, strict=True):
        made = spec.peer_url(host)
        if made not in member.listed.peer_urls:
            message = (
                f"{member.name}: its peer URL is {member.peer.text}; cluster.yaml can only describe {made}"
            )
            yield Refused(
                message, "change it with `etcdctl member update`, then inspect it again", member.name
            )


def _cluster_name(members: Sequence[Member], wanted: Wanted, notes: Notes) -> Key:
    """Return the name: the operator's, otherwise the token of the cluster, if that can be one."""
    token = members[0].settings.get("initial-cluster-token")
    if wanted.name:
        return Key("name", wanted.name, "--name")
    if token and token.value not in _COMMON_TOKENS and is_host_name(token.value):
        return Key("name", token.value, members[0].origin("initial-cluster-token"))
    notes.decide.append(("", "etcd has no name for the cluster: pass `--name NAME`. The draft has `etcd`"))
    return Key("name", "etcd", "to be decided")
