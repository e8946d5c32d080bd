"""Which store a place in `backup.to` names, and what lets us into it.

Credentials come from the environment or the AWS configuration files (AWS_PROFILE chooses), and from nowhere else.
"""

import configparser
import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from etcdup.core.spec.address import parse_ip
from etcdup.core.spec.model import BackupSpec
from etcdup.errors import UsageError
from etcdup.ops.backups import store
from etcdup.ops.backups.store import Store, StoreError

_RETRIES = 3
_CREDENTIALS = ("access_key_id", "secret_access_key", "session_token")


def open_store(backup: BackupSpec, place: str, folder: Path) -> Store:
    """One of the places that cluster.yaml names; `folder` is the file's own. Makes no connection yet."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        return _open_folder(folder / Path(place).expanduser())
    if scheme != "s3":
        raise StoreError(
            f"backups to {scheme}:// are not there yet", hint="use a folder or s3://bucket/prefix"
        )
    bucket, _, prefix = rest.partition("/")
    return _open_bucket(backup, bucket, prefix.strip("/"))


def is_missing(place: str, folder: Path) -> bool:
    """Whether backups go to a folder that is not there: looking must not make it."""
    return "://" not in place and not (folder / Path(place).expanduser()).is_dir()


def _open_folder(folder: Path) -> Store:
    from obstore.store import LocalStore

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"no backup can be kept in {folder}: {error.strerror}", hint="name another folder in `backup.to`"
        ) from None
    return Store(LocalStore(folder), str(folder), "", folder)


def _open_bucket(backup: BackupSpec, bucket: str, prefix: str) -> Store:
    from obstore.store import S3Store

    endpoint = backup.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = _credentials()
    config["region"] = backup.region or os.environ.get("AWS_REGION") or "us-east-1"
    if endpoint:
        config["endpoint"] = endpoint if backup.path_style else _endpoint_of_bucket(endpoint, bucket)
    if backup.sse:
        config["server_side_encryption"] = backup.sse
    if _is_private(endpoint) and "AWS_UNSIGNED_PAYLOAD" not in os.environ:
        # It is read back and compared: its hash in a signature shows no more.
        config["unsigned_payload"] = "true"
    objects = S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]
        virtual_hosted_style_request=not backup.path_style,
        client_options={
            "allow_http": True, "timeout": timedelta(hours=1), "read_timeout": timedelta(seconds=store.STALL_S),
            "connect_timeout": timedelta(seconds=5),
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=store.RETRY_S)},
    )  # fmt: skip
    return Store(objects, f"s3://{bucket}/{prefix}".rstrip("/"), prefix)


def _endpoint_of_bucket(endpoint: str, bucket: str) -> str:
    """The bucket as a host: the library takes an endpoint for that already, and would leave the bucket's name out."""
    parts = urlsplit(endpoint)
    if (parts.hostname or "").startswith(f"{bucket}."):
        return endpoint
    if parse_ip(parts.hostname or "") is not None:
        raise UsageError(
            f"{endpoint} is an IP address, and `path_style: false` asks for the bucket at a name of its own, "
            f"{bucket}.NAME",
            hint="leave `path_style` out, or give `endpoint` the store's name",
        )
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()


def _is_private(endpoint: str | None) -> bool:
    """Whether nobody on the way can change what is sent."""
    parts = urlsplit(endpoint or "https://")
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    address = parse_ip(parts.hostname or "")
    return address is not None and address.is_loopback


def _credentials() -> dict[str, str]:
    """Of the profile in the credentials file. What the environment says goes before: the library reads it."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    profiles = configparser.ConfigParser(interpolation=None)
    try:
        profiles.read(path)
    except configparser.Error:
        raise StoreError(f"{path} is not a file of AWS credentials") from None
    profile = os.environ.get("AWS_PROFILE") or "default"
    section = profiles[profile] if profiles.has_section(profile) else {}
    return {key: section[f"aws_{key}"] for key in _CREDENTIALS if f"aws_{key}" in section}
