"""The YAML of `etcd --config-file`, as settings by flag. Its keys are those of `Config` in server/embed/config.go.

https://github.com/etcd-io/etcd/blob/v3.6.14/server/embed/config.go
"""

from collections.abc import Iterator, Mapping
from typing import Any

from etcdup.core.adopt.model import Unreadable
from etcdup.core.spec.visible import one_line
from etcdup.core.spec.yaml_document import read_document

# The flag of each key of a section. `-` is a key that has no flag.
_SECTIONS: dict[str, dict[str, str]] = {
    "client-transport-security": {
        "cert-file": "cert-file",
        "key-file": "key-file",
        "client-cert-file": "client-cert-file",
        "client-key-file": "client-key-file",
        "client-cert-auth": "client-cert-auth",
        "trusted-ca-file": "trusted-ca-file",
        "auto-tls": "auto-tls",
        "allowed-hostname": "client-cert-allowed-hostname",
    },
    "peer-transport-security": {
        "cert-file": "peer-cert-file",
        "key-file": "peer-key-file",
        "client-cert-file": "peer-client-cert-file",
        "client-key-file": "peer-client-key-file",
        "client-cert-auth": "peer-client-cert-auth",
        "trusted-ca-file": "peer-trusted-ca-file",
        "auto-tls": "peer-auto-tls",
        "allowed-cn": "peer-cert-allowed-cn",
        "allowed-hostname": "peer-cert-allowed-hostname",
        "skip-client-san-verification": "peer-skip-client-san-verification",
    },
    "socket-options": {"reuse-port": "socket-reuse-port", "reuse-address": "socket-reuse-address"},
}
# Durations are nanoseconds in the file, and have a unit as a flag.
_DURATIONS_TEXT = """
    backend-batch-interval compact-hash-check-time compaction-sleep-interval corrupt-check-time downgrade-check-time
    experimental-compact-hash-check-time experimental-compaction-sleep-interval experimental-corrupt-check-time
    experimental-downgrade-check-time experimental-warning-apply-duration experimental-warning-unary-request-duration
    experimental-watch-progress-notify-interval grpc-keepalive-interval grpc-keepalive-min-time grpc-keepalive-timeout
    warning-apply-duration warning-unary-request-duration watch-progress-notify-interval
"""
_DURATIONS = frozenset(_DURATIONS_TEXT.split())


def config_settings(text: str) -> dict[str, str]:
    """Return the settings of the file by flag. Raise Unreadable if it is not a configuration of etcd."""
    document = read_document(text)
    if document.problems:
        raise Unreadable(f"the configuration file of etcd: {one_line(document.problems[0].message)}")
    if not isinstance(document.data, Mapping):
        raise Unreadable("the configuration file of etcd has no keys")
    return dict(_settings(document.data))


def _settings(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    # Go finds a key in any case: https://pkg.go.dev/encoding/json#Unmarshal
    for name, value in ((str(key).lower(), each) for key, each in data.items()):
        if name in _SECTIONS:
            yield from _section(name, value)
        elif not isinstance(value, Mapping):
            yield from _setting(name, value)


def _section(name: str, value: object) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise Unreadable(f"`{name}` in the configuration file of etcd is not a section")
    for key, each in value.items():
        if flag := _SECTIONS[name].get(str(key).lower()):
            yield from _setting(flag, each)


def _setting(flag: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield the flag, if the file sets it. Null leaves the default, and so does an empty text."""
    if not str(value).isprintable():
        raise Unreadable(f"`{one_line(flag, 100)}` in the configuration file of etcd has control characters")
    match value:
        case None | "":
            return
        case bool():
            yield flag, str(value).lower()
        case list():
            yield flag, ",".join(map(str, value))
        case int() if flag in _DURATIONS:
            yield flag, f"{value}ns"
        case _:
            yield flag, str(value)
