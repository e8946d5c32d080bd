"""Open the store of a destination in `backup.to`.

Credentials come only from the environment or from the AWS configuration files (AWS_PROFILE selects the profile).
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


def open_store(backup: BackupSpec, destination: str, folder: Path) -> Store:
    """Return the store of one destination. `folder` is that of cluster.yaml. No connection is made yet."""
    scheme, separator, rest = destination.partition("://")
    if not separator:
        return _open_folder(folder / Path(destination).expanduser())
    if scheme != "s3":
        raise StoreError(
            f"etcdup does not support backups to {scheme}:// yet", hint="use a folder or s3://bucket/prefix"
        )
    bucket, _, prefix = rest.partition("/")
    return _open_bucket(backup, bucket, prefix.strip("/"))


def is_missing(destination: str, folder: Path) -> bool:
    """Whether the destination is a folder that does not exist: a read-only command must not create it."""
    return "://" not in destination and not (folder / Path(destination).expanduser()).is_dir()


def _open_folder(folder: Path) -> Store:
    from obstore.store import LocalStore

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create the backup folder {folder}: {error.strerror}",
            hint="write another folder into `backup.to` of cluster.yaml",
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
        # The object is read back and compared, so a hash of the payload in the signature is not needed.
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
    """Return the endpoint with the bucket as a host name: the library expects an endpoint that contains the bucket."""
    parts = urlsplit(endpoint)
    if (parts.hostname or "").startswith(f"{bucket}."):
        return endpoint
    if parse_ip(parts.hostname or "") is not None:
        raise UsageError(
            f"{endpoint} is an IP address, but `path_style: false` needs a host name: "
            f"the bucket is then at {bucket}.NAME",
            hint="remove `path_style`, or write the host name of the store into `endpoint`",
        )
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()


def _is_private(endpoint: str | None) -> bool:
    """Whether the connection is protected from changes by others: it is TLS or loopback."""
    parts = urlsplit(endpoint or "https://")
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    address = parse_ip(parts.hostname or "")
    return address is not None and address.is_loopback


def _credentials() -> dict[str, str]:
    """Return the credentials of the profile, or none if the environment has some, which the library reads itself."""
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
