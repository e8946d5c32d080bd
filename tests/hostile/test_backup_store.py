"""A client that can write to the backup store, and has no key of the PKI.

Each test starts with one good backup, and adds what such a client could write. The good one stays listed and used.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyrage import x25519

from etcdup.cli.backups.backups import list_backups
from etcdup.cli.backups.prune import prune_backups
from etcdup.cli.backups.verify import verify_backups
from etcdup.core.backups.backups import DATABASE, MANIFEST, PKI, manifest_text
from etcdup.core.spec.model import BackupSpec
from etcdup.errors import EXIT_DONE, EXIT_FAILED, RefusedError
from etcdup.ops.backups.backups import Damaged, fetch, verify
from etcdup.ops.backups.backups import list_backups as entries_of
from etcdup.ops.backups.destinations import Contents, open_destinations
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.pki_backup import fetch_pki, seal_pki
from etcdup.ops.backups.store import Store
from etcdup.ops.backups.trust import PROOF_KIND, NotUsed, Trust
from etcdup.ops.pki.backup_key import BackupKey, read_backup_key
from tests.ops.pki.managed_pki import issue_all
from tests.support.backup_key import KEY, PRIVATE_KEY, TRUST
from tests.support.backup_store import CONTENT, manifest_at, put_backup, put_proof
from tests.support.texts import Texts

NOW = datetime.now(UTC).replace(microsecond=0)
GOOD = NOW - timedelta(hours=1)
NEWER = NOW - timedelta(minutes=1)
UNSIGNED = Trust(KEY, unsigned=True)
OTHER = Trust(BackupKey(Ed25519PrivateKey.generate()))
NOBODY = Trust(None)


Attack = Callable[[Path], str]


def _copied_signature(folder: Path) -> str:
    """A newer name with the data of the client, and the signature of the good manifest."""
    good = (folder / (manifest_at(GOOD).name + MANIFEST)).read_bytes()
    name = manifest_at(NEWER).name
    (folder / (name + DATABASE)).write_bytes(CONTENT)
    changed = good.replace(manifest_at(GOOD).name.encode(), name.encode())
    (folder / (name + MANIFEST)).write_bytes(
        changed.replace(GOOD.isoformat().encode(), NEWER.isoformat().encode())
    )
    return name


def _renamed(folder: Path) -> str:
    """The good backup under a newer name, unchanged."""
    name = manifest_at(NEWER).name
    for ending in (DATABASE, MANIFEST):
        (folder / (name + ending)).write_bytes((folder / (manifest_at(GOOD).name + ending)).read_bytes())
    return name


def _proof_as_manifest(folder: Path) -> str:
    """A text that the key signed, but as another kind of text."""
    name = put_backup(folder, NEWER)
    text = manifest_text(manifest_at(NEWER))
    (folder / (name + MANIFEST)).write_bytes(TRUST.sign(PROOF_KIND, text))
    return name


def _text_after_the_signature(folder: Path) -> str:
    name = put_backup(folder, NEWER)
    path = folder / (name + MANIFEST)
    path.write_bytes(path.read_bytes().replace(b"\n}\n", b',\n "revision": 9\n}\n'))
    return name


def _deep(folder: Path) -> str:
    name = put_backup(folder, NEWER)
    (folder / (name + MANIFEST)).write_text("[" * 60_000)
    return name


def _large(folder: Path) -> str:
    name = put_backup(folder, NEWER)
    (folder / (name + MANIFEST)).write_bytes(b"x" * (1 << 20))
    return name


ATTACKS: tuple[Attack, ...] = (
    lambda folder: put_backup(folder, NEWER, NOBODY),
    lambda folder: put_backup(folder, NEWER, OTHER),
    lambda folder: put_backup(folder, NOW + timedelta(days=400), NOBODY),
    _copied_signature,
    _renamed,
    _proof_as_manifest,
    _text_after_the_signature,
    _deep,
    _large,
)


def store_of(folder: Path) -> Store:
    return open_destinations(BackupSpec(to=(".",)), folder).stores[0]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_it_cannot_replace_or_hide_a_backup(tmp_path: Path, attack: Attack) -> None:
    good = put_backup(tmp_path, GOOD)
    bad = attack(tmp_path)
    store = store_of(tmp_path)
    contents = Contents({store: await entries_of(store, "prod", TRUST)})
    assert {each.name: not each.fault for each in contents.backups} == {good: True, bad: False}
    assert contents.chosen("prod", "latest").name == good
    assert [each.name for each in contents.newer_with_fault(contents.usable[0])] == [bad]
    path, manifest = await fetch(store, good, tmp_path, TRUST)
    assert (manifest.signed, path.read_bytes()) == (True, CONTENT)
    with pytest.raises(Exception) as caught:
        await fetch(store, bad, tmp_path / "none", TRUST)
    assert type(caught.value).__module__.startswith("etcdup."), caught.value


async def test_each_changed_byte_of_a_manifest_is_detected(tmp_path: Path) -> None:
    name = put_backup(tmp_path, GOOD)
    path, store = tmp_path / (name + MANIFEST), store_of(tmp_path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        (entry,) = await entries_of(store, "prod", TRUST)
        assert entry.fault, f"byte {at}"


async def test_a_date_in_the_future_is_refused_whatever_signed_it(tmp_path: Path) -> None:
    name = put_backup(tmp_path, NOW + timedelta(days=1))
    for trust in (TRUST, UNSIGNED):
        with pytest.raises(NotUsed):
            await fetch(store_of(tmp_path), name, tmp_path, trust)
    past = manifest_at(NOW - timedelta(days=1))
    put_backup(tmp_path, NOW + timedelta(days=2), taken_at=past.taken_at)
    assert all(each.fault for each in await entries_of(store_of(tmp_path), "prod", UNSIGNED))
    near = put_backup(tmp_path, NOW + timedelta(minutes=2))
    assert (await fetch(store_of(tmp_path), near, tmp_path, TRUST))[1].name == near


async def test_unsigned_backups_are_used_only_if_the_operator_says_so(texts: Texts, tmp_path: Path) -> None:
    name = put_backup(tmp_path, GOOD, NOBODY)
    for trust in (TRUST, NOBODY):
        with pytest.raises(RefusedError) as caught:
            await fetch(store_of(tmp_path), name, tmp_path, trust)
        texts(caught.value)
    _, manifest = await fetch(store_of(tmp_path), name, tmp_path, UNSIGNED)
    assert not manifest.signed


async def test_a_proof_of_a_signed_backup_must_be_signed(tmp_path: Path) -> None:
    first, second = put_backup(tmp_path, GOOD), put_backup(tmp_path, NEWER)
    for trust, of in ((NOBODY, ""), (OTHER, ""), (TRUST, second)):
        put_proof(tmp_path, first, NOW, trust, of=of)
        for read_with in (TRUST, UNSIGNED):
            assert [each.proved for each in await entries_of(store_of(tmp_path), "prod", read_with)] == [
                False
            ] * 2
    put_proof(tmp_path, first, NOW)
    assert [each.proved for each in await entries_of(store_of(tmp_path), "prod", TRUST)] == [True, False]


async def test_an_archive_of_the_pki_belongs_to_its_manifest(tmp_path: Path) -> None:
    """A mix of two backups, or an archive of another PKI directory, is refused. So is any other key of age."""
    identity, other = Identity([x25519.Identity.generate()]), Identity([x25519.Identity.generate()])
    for name in ("ours", "theirs"):
        issue_all(tmp_path / name)
    sealed, foreign = [
        await seal_pki(tmp_path / name / "pki", identity.public[0]) for name in ("ours", "theirs")
    ]
    ours = Trust(read_backup_key(tmp_path / "ours/pki"))
    facts = {"pki_size": len(sealed), "pki_sha256": sha256(sealed).hexdigest()}
    name = put_backup(tmp_path, GOOD, ours, **facts)
    path, store = tmp_path / (name + PKI), store_of(tmp_path)
    path.write_bytes(sealed)
    assert (await fetch_pki([store], name, identity)).key.fingerprint == ours.key.fingerprint  # type: ignore[union-attr]
    with pytest.raises(Damaged):
        await fetch_pki([store], name, other)
    for content in (foreign, sealed[:-1], sealed + b"x", b""):
        path.write_bytes(content)
        with pytest.raises(Damaged):
            await fetch_pki([store], name, identity)
        with pytest.raises(Damaged):
            await verify(store, name, ours, report=lambda _: None)
    path.write_bytes(foreign)
    put_backup(tmp_path, GOOD, ours, pki_size=len(foreign), pki_sha256=sha256(foreign).hexdigest())
    with pytest.raises(Damaged):
        await fetch_pki([store], name, identity)


async def test_a_manifest_that_changes_between_two_reads_is_refused(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client names an older archive of the same PKI directory, then puts the signed manifest back."""
    identity = Identity([x25519.Identity.generate()])
    issue_all(tmp_path)
    ours = Trust(read_backup_key(tmp_path / "pki"))
    older, newer = [await seal_pki(tmp_path / "pki", identity.public[0]) for _ in range(2)]

    def put(sealed: bytes, trust: Trust) -> bytes:
        digest = sha256(sealed).hexdigest()
        name = put_backup(tmp_path, GOOD, trust, pki_size=len(sealed), pki_sha256=digest)
        return (tmp_path / (name + MANIFEST)).read_bytes()

    signed, forged = put(newer, ours), put(older, NOBODY)
    name = manifest_at(GOOD).name
    (tmp_path / (name + PKI)).write_bytes(older)
    answers = [forged, signed]
    store = store_of(tmp_path)

    async def read_text(_: str) -> bytes:
        return answers.pop(0)

    monkeypatch.setattr(store, "read_text", read_text)
    with pytest.raises(Damaged) as caught:
        await fetch_pki([store], name, identity)
    texts(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A cluster.yaml with a PKI directory that has a backup key only."""
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki/backup-key.pem").write_bytes(PRIVATE_KEY)
    (tmp_path / "backups").mkdir()
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "name: prod\nversion: 3.6.14\nhosts: [{name: infra1, address: 10.0.0.1}]\n"
        "backup: {keep: {hourly: 0, daily: 2}}\n"
    )
    return path


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_prune_never_counts_or_deletes_what_it_cannot_verify(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = file.parent / "backups"
    ours = [put_backup(folder, NOW - timedelta(days=day)) for day in range(4)]
    fakes = [put_backup(folder, NOW - timedelta(days=day, seconds=9), NOBODY) for day in range(6)]
    future = put_backup(folder, NOW + timedelta(days=9), NOBODY)
    assert prune_backups(file, yes=True, unsigned=False, as_json=True) == EXIT_DONE
    told = printed(capsys)
    assert told["deleted"] == sorted(ours[2:])
    assert [each["name"] for each in told["unused"]] == sorted([*fakes, future])
    assert prune_backups(file, yes=True, unsigned=True, as_json=True) == EXIT_DONE
    assert set(ours[:2]) <= {path.name.removesuffix(DATABASE) for path in folder.glob("*.db")}
    told = printed(capsys)
    assert set(told["deleted"]) <= set(fakes)
    assert [each["name"] for each in told["unused"]] == [future]


def test_list_and_verify_name_what_is_not_used(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = file.parent / "backups"
    good = put_backup(folder, GOOD)
    bad = put_backup(folder, NEWER, OTHER)
    assert list_backups(file, as_json=True) == EXIT_DONE
    rows = {each["name"]: (each["signed"], bool(each["why"])) for each in printed(capsys)["backups"]}
    assert rows == {good: (True, False), bad: (False, True)}
    code = verify_backups(file, "latest", every=False, identity=None, unsigned=False, as_json=True)
    assert code == EXIT_FAILED
    rows_of_verify = printed(capsys)["backups"]
    assert {each["name"] for each in rows_of_verify} == {good, bad}
