"""Rules between the keys of the section backup."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from etcdup.core.spec.address import is_web_url, parse_ip
from etcdup.core.spec.age_key import is_private_key, is_public_key
from etcdup.core.spec.host_rules import Mistake
from etcdup.core.spec.model import Spec
from etcdup.core.spec.yaml_document import Loc

_SCHEMES = ("s3", "gs", "az")
_DESTINATION_HINT = "write a directory, or s3://bucket/prefix"


def backup_mistakes(spec: Spec) -> Iterator[Mistake]:
    """Yield every mistake in the section backup."""
    yield from _destinations(spec)
    yield from _encryption(spec)
    yield from _retention(spec)


def _destinations(spec: Spec) -> Iterator[Mistake]:
    destinations, at = spec.backup.to, ("backup", "to")
    if not destinations:
        yield Mistake((at,), "`to` is empty", _DESTINATION_HINT)
    for index, destination in enumerate(destinations):
        yield from _destination(destination, (*at, index))
    for first, second in combinations(range(len(destinations)), 2):
        if _is_same_destination(destinations[first], destinations[second]):
            message = f"`to` has the same destination twice, `{destinations[second]}`"
            yield Mistake(((*at, second),), message, "remove one of them")
    in_buckets = any(destination.startswith("s3://") for destination in destinations)
    for key in ("endpoint", "region", "path_style", "sse"):
        if not in_buckets and key in spec.backup.model_fields_set and getattr(spec.backup, key) is not None:
            message = f"`{key}` is only allowed with an s3:// destination in `to`"
            yield Mistake((("backup", key), at), message, f"remove `{key}`")
    if spec.backup.endpoint is not None and not is_web_url(spec.backup.endpoint):
        message = f"`endpoint` must be a URL, not `{spec.backup.endpoint}`"
        hint = "write a URL, for example https://s3.example.com"
        yield Mistake((("backup", "endpoint"),), message, hint)
    elif (
        spec.backup.endpoint is not None
        and not spec.backup.path_style
        and parse_ip(urlsplit(spec.backup.endpoint).hostname or "")
    ):
        message = (
            "`path_style: false` puts the bucket before the host name of `endpoint`, which is an IP address"
        )
        hint = "remove `path_style`, or write the host name of the store in `endpoint`"
        yield Mistake((("backup", "path_style"), at), message, hint)


def _destination(destination: str, at: Loc) -> Iterator[Mistake]:
    scheme, separator, rest = destination.partition("://")
    if "@" in rest.split("/")[0]:
        # The message does not show the value, because the value may contain a secret key.
        hint = "remove them; use the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or an IAM role"
        yield Mistake((at,), "`to` contains credentials, which are not allowed in cluster.yaml", hint)
    elif separator and scheme not in _SCHEMES:
        yield Mistake((at,), f"`{scheme}://` is not supported for backups", _DESTINATION_HINT)
    elif separator and not rest.split("/")[0]:
        message = f"`{destination}` has no bucket name"
        yield Mistake((at,), message, f"write {scheme}://bucket/prefix")
    elif not destination.strip():
        yield Mistake((at,), "`to` is empty", _DESTINATION_HINT)


def _is_same_destination(one: str, other: str) -> bool:
    return "@" not in one and PurePosixPath(one) == PurePosixPath(other)


def _encryption(spec: Spec) -> Iterator[Mistake]:
    key, at = spec.backup.encrypt_to, ("backup", "encrypt_to")
    if key is None or is_public_key(key):
        return
    if is_private_key(key):  # The message does not show the key.
        hint = "write the public key (age1...): a private key here would defeat the encryption"
        yield Mistake((at,), "`encrypt_to` contains a private key", hint)
        return
    hint = "run `age-keygen` to create a key; its public key is age1 and 58 more characters"
    yield Mistake((at,), f"`encrypt_to` must be a public key of age, not `{key}`", hint)


def _retention(spec: Spec) -> Iterator[Mistake]:
    if spec.backup.every < 1:
        yield Mistake(
            (("backup", "every"),), "`every` must be at least 1s", "write a duration, for example 1h"
        )
    keep = spec.backup.keep
    if not (keep.hourly or keep.daily or keep.weekly or keep.monthly):
        at: Loc = ("backup", "keep")
        message = "`keep` is 0 for all ages, so each backup would be deleted"
        hint = "keep some backups, for example {hourly: 24, daily: 7}"
        yield Mistake((at, *((*at, key) for key in type(keep).model_fields)), message, hint)
