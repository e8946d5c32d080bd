"""Where docs/reference/json.md takes its fields from."""

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
    "The same document for `apply`, `restore`, `restore --undo`, `recover`, `maintain defrag`, `maintain "
    "fix-space`, `maintain move-leader` and `maintain repair`, also if they fail. `maintain defrag` and `maintain "
    "fix-space` add `databases`: the size of each file before and after, in bytes, or `null` if the member did not "
    "answer. `maintain fix-space` adds `space`: "
    "`cause` is `free-pages`, `often-written-keys`, `replaced-keys` or `present-keys`, `explanation` says it with "
    "numbers, `returns_because` is a list of texts, and `snapshot` is the path of the snapshot before a compaction. "
    "`maintain repair` adds `repair`: `kind` is `replace`, `resume` (an earlier run began) or `disarm` (only the alarm "
    "is left), `fault` is what is wrong with the data, and `snapshot` is the path of the right data. "
    "`outcome` is `done`, `nothing to do`, `pending`, `refused`, `partly applied`, `interrupted` or "
    "`failed`. `plan` is the document of `plan --json`; it is `null` if there is no plan."
)
SOURCES: tuple[Source, ...] = (
    Source(
        "status", "One document. With `--watch`, one line for each observation.",
        ("status-healthy.json", "status-changing.json", "status-trouble.json"),
        sample="status",
    ),
    Source(
        "health", "`cluster` is `healthy`, `degraded`, `unavailable` or `unknown`.",
        ("restore-done.json",), "health",
    ),
    Source(
        "validate", "`problems` is empty if the file is valid. Line 0 means the file as a whole.",
        ("validate.json", "validate-problems.json"),
    ),
    Source(
        "adopt --dry-run",
        "`draft` is `null` if `refused` is not empty. The exit code is then 4. `adopt` without `--dry-run` prints the "
        "same document. Without `--yes` it writes nothing, and the exit code is 3 if something is left to write.",
        ("adopt.json", "adopt-refused.json"),
    ),
    Source(
        "adopt --to-tls",
        "The exit code is 3 while a step is left, 0 if nothing is left, and 4 if `refused` is not empty.",
        ("adopt-to-tls.json", "adopt-to-tls-refused.json"),
    ),
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
        "restore-keys",
        "The fields of `apply`, and these. `first` has up to 1000 keys, those first that would be overwritten. "
        "`--dry-run` ends with the outcome `pending`.",
        ("restore-keys.json",),
    ),
    Source(
        "check",
        "`worst` is `wrong`, `advice`, `untried` or `null`. `hosts` has an entry for each host that was inspected.",
        ("check.json",),
    ),
    Source("archive list", "`failed` has the hosts whose archives could not be read.", ("archive-list.json",)),
    Source(
        "maintain verify", "`outcome` is `same`, `different` or `not compared`.", ("maintain-verify.json",)
    ),
    Source("certs list", "`seen` lists where the certificate was found.", sample="certs list"),
    Source("certs renew", "`members` is empty if the members are not healthy.", ("certs-renew.json",)),
    Source(
        "certs issue", "No document contains a key. `key` is the path of the key.",
        ("certs-issue.json", "certs-issue-csr.json", "certs-issue-renewed.json"),
    ),
    Source("certs forget", "etcd accepts the certificate until `not_after`.", ("certs-forget.json",)),
    Source("certs revoke", "`why` is the reason, if `rejected` is not `true`.", sample="certs revoke"),
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
    Source("backup log", "One line for each change.", ("backup-log.json",)),
    Source(
        "maintain space",
        "Sizes are bytes. The fields of use are the same for the whole database and for each part of it.",
        ("space.json",),
    ),
)  # fmt: skip

# Objects whose names are data: hosts, members, files.
MAPPINGS = frozenset(("hosts", "hosts.*.round_trips_ms", "hosts.*.sources", "members", "backups[].members"))
