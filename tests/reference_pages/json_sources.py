"""Where docs/reference/json.md takes its fields from, and what fields mean whose name does not say it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One section of the page: golden files of tests/cli, or the name of a sample. `within` is the part that counts.

    A `folded` field has a section of its own.
    """

    verb: str
    text: str
    golden: tuple[str, ...] = ()
    within: str = ""
    sample: str = ""
    folded: tuple[str, ...] = ()


_CHANGE = (
    "The same document for `apply`, `restore`, `restore --undo` and `recover`, also if they fail. `outcome` is `done`, "
    "`nothing to do`, `pending`, `refused`, `partly applied`, `interrupted` or `failed`. `plan` is the document of "
    "`plan --json`; it is `null` if there is no plan."
)
SOURCES: tuple[Source, ...] = (
    Source(
        "status", "One document. With `--watch`, one line for each observation.",
        ("status-healthy.json", "status-changing.json", "status-trouble.json"),
        sample="status",
    ),
    Source("health", "`cluster` is `healthy`, `degraded` or `unavailable`.", ("restore-done.json",), "health"),
    Source(
        "plan", "Each step has the fields of its kind. `plan --out FILE` writes the same document.",
        ("restore-done.json", "restore-pending.json", "recover-pending.json"), "plan",
    ),
    Source("plan, if it is refused", "The exit code is 4.", sample="plan refused"),
    Source(
        "apply, restore, recover", _CHANGE,
        ("restore-done.json", "restore-pending.json", "restore-refused.json", "recover-pending.json"),
        folded=("plan", "health"),
    ),
    Source(
        "check",
        "`worst` is `wrong`, `advice`, `untried` or `null`. `hosts` has an entry for each host that was inspected.",
        ("check.json",),
    ),
    Source("certs list", "`seen` lists where the certificate was found.", sample="certs list"),
    Source("certs renew", "`members` is empty if the members are not healthy.", ("certs-renew.json",)),
    Source(
        "certs issue", "No document contains a key. `key` is the path of the key.",
        ("certs-issue.json", "certs-issue-csr.json", "certs-issue-renewed.json"),
    ),
    Source("certs forget", "etcd accepts the certificate until `not_after`.", ("certs-forget.json",)),
    Source("certs csr", "`tls` is the section for cluster.yaml.", ("certs-csr.json",)),
    Source(
        "certs rotate-ca",
        "`phase` is the phase that is complete. `next` is what the next run does, and what consumers need before it.",
        ("certs-rotate-ca.json",),
    ),
    Source("backup now", "`failed` lists the destinations without this backup.", sample="backup now"),
    Source("backup list", "`failed` lists the destinations that could not be read.", sample="backup list"),
    Source("backup verify", "One entry for each copy.", sample="backup verify"),
    Source("backup prune", "", sample="backup prune"),
    Source("backup drill", "", sample="backup drill"),
)  # fmt: skip

# Objects whose names are data: hosts, members, files.
MAPPINGS = frozenset(("hosts", "hosts.*.round_trips_ms", "hosts.*.sources", "members", "backups[].members"))

FIELD_MEANINGS: dict[str, str] = {
    "format": "The version of the document.",
    "cluster": "The name of the cluster.",
    "at": "The time of the observation.",
    "status: healthy": "How many members are healthy.",
    "status: size": "How many voters the member list has.",
    "status: backups": "Missing if no backup destination was read.",
    "status: backups.last": "The newest backup.",
    "status: backups.last_proved": "The newest backup that a drill restored.",
    "status: backups.lacking": "The destinations without the newest backup.",
    "status: quorum": "How many healthy voters the cluster needs.",
    "apply, restore, recover: plan": "The document of `plan --json`.",
    "apply, restore, recover: health": "The document of `health --json`.",
    "apply, restore, recover: done": "The steps that this run completed.",
    "apply, restore, recover: error": "Null if the verb succeeded.",
    "can_lose": "How many more members can fail before the quorum is lost.",
    "differences": "Differences between the member list and cluster.yaml.",
    "downgrade_to": "The target of a downgrade that etcd has in progress.",
    "in_file": "The member is in cluster.yaml.",
    "unit": "The state of the systemd unit.",
    "quota": "Bytes.",
    "db_size": "Bytes.",
    "db_in_use": "Bytes.",
    "took_ms": "The duration of the health proof in milliseconds.",
    "token": "The token of the cluster.",
    "reason": "Why the step is in the plan.",
    "rules": "Numbers of rules. See [rules](rules.md).",
    "quorum": "The effect of the step on the quorum.",
    "if_cut": "The state if etcdup is killed during the step, and what the next run does.",
    "step": "The kind of the step.",
    "hint": "What to do next.",
    "bump": "By how much revisions are raised.",
    "plan: steps[].aside": "The suffix of archived data.",
    "level": "`wrong`, `advice` or `untried`.",
    "fix": "What to do.",
    "cis": "The control of the CIS Kubernetes Benchmark.",
    "why": "The reason, if something is not as it must be.",
    "days_left": "Negative if the certificate has expired.",
    "in_use": "False for a certificate of a former member, or of a forgotten or replaced consumer certificate.",
    "ends_soon": "The certificate is due for renewal.",
    "well": "There is no finding.",
    "raft": "What raft reports about the peers, if something is wrong.",
    "kept": "Where the replaced certificate is archived.",
    "replaced": "The previous certificate of the consumer. etcd accepts it until `not_after`.",
    "configuration": "The configuration of the consumer.",
    "steps_done": "How many steps this run did.",
    "certs renew: ports[].proved": "A new handshake showed the new certificate.",
    "backup list: backups[].proved": "A drill restored this backup.",
    "backup now: size": "Bytes of the database.",
    "places": "The backup destinations.",
    "place": "A backup destination.",
    "kv_hash": "The hash of etcd over all keys and values at `revision`.",
    "canary": "The key that a drill reads. Empty if the database was full.",
    "rto_s": "Seconds from the fetch of the backup until etcd serves it.",
    "rpo_s": "The age of the data when the drill began, in seconds.",
    "whole": "Length and checksums are right.",
    "decrypted": "Null if the backup is not encrypted, or no private key was given.",
    "written_s": "Seconds until the destinations had the stream.",
    "read_back_s": "Seconds to read it back.",
    "encrypted_to": "The public key. Empty if the backup is not encrypted.",
    "stored_size": "Bytes in the destination, if the backup is encrypted.",
    "stored_sha256": "The SHA-256 of the encrypted file.",
}
