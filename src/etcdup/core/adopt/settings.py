"""The settings of a running etcd by flag, each with its origin, by the precedence of etcd itself.

A configuration file excludes flags and variables. Otherwise both count: etcd does not start with a flag and its
variable. An empty variable counts as not set.
https://github.com/etcd-io/etcd/blob/v3.6.14/pkg/flags/flag.go, server/etcdmain/config.go
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from etcdup.core.adopt.config_file import config_settings
from etcdup.core.adopt.model import Process, Unreadable
from etcdup.core.spec.server_flags import Series, flags_of
from etcdup.core.spec.version import NEWEST
from etcdup.core.spec.visible import one_line

# The flags that Go reads as true without a value. The next argument is never their value.
_BOOLEAN_TEXT = """
    auto-tls client-cert-auth debug enable-distributed-tracing enable-grpc-gateway enable-log-rotation enable-pprof
    enable-v2 experimental-compact-hash-check-enabled experimental-enable-distributed-tracing
    experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist
    experimental-initial-corrupt-check experimental-memory-mlock experimental-peer-skip-client-san-verification
    experimental-stop-grpc-service-on-defrag experimental-txn-mode-write-with-shared-buffer force-new-cluster
    initial-election-tick-advance memory-mlock peer-auto-tls peer-client-cert-auth peer-skip-client-san-verification
    pre-vote socket-reuse-address socket-reuse-port strict-reconfig-check unsafe-no-fsync version
"""
BOOLEAN = frozenset(_BOOLEAN_TEXT.split())
TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")
_ALL_FLAGS = frozenset(flag for series in NEWEST for flag in flags_of(series))


@dataclass(frozen=True)
class Setting:
    """A value and where it is from: `flag`, `environment`, or the path of the configuration file."""

    value: str
    origin: str


Settings = Mapping[str, Setting]


def settings_of_process(process: Process, series: Series | None = None) -> Settings:
    """Return the settings that are set, by flag. Raise Unreadable if etcd itself could not read them.

    Without `series`, variables count for the flags of all series.
    """
    flags = dict(arguments_of(process))
    path = flags.get("config-file") or process.variables.get("ETCD_CONFIG_FILE", "")
    if path:
        if process.config is None:
            raise Unreadable(f"the configuration file {one_line(path)} of etcd is missing or is not readable")
        return {
            flag: Setting(value, process.config.path)
            for flag, value in config_settings(process.config.text).items()
        }
    found = {flag: Setting(value, "flag") for flag, value in flags.items()}
    for flag in flags_of(series) if series in NEWEST and series else _ALL_FLAGS:
        value = process.variables.get("ETCD_" + flag.upper().replace("-", "_"), "")
        if value and flag not in found:
            found[flag] = Setting(value, "environment")
    return found


def arguments_of(process: Process) -> Iterator[tuple[str, str]]:
    """Yield each flag with its value, as Go's flag package reads them. The last one of the same name counts."""
    rest = list(process.argv[1:])
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word in ("-", "--"):
            # etcd ends at a start with such an argument. So this process is not etcd, or it changed its arguments.
            raise Unreadable(f"`{one_line(word, 100)}` in the arguments of etcd is not a flag")
        flag, given, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not given:
            value = "true" if flag in BOOLEAN else _next_value(flag, rest)
        yield flag, value


def _next_value(flag: str, rest: list[str]) -> str:
    if not rest:
        raise Unreadable(f"the flag `{one_line(flag, 100)}` of etcd has no value")
    return rest.pop(0)


def value_of(settings: Settings, flag: str, otherwise: str = "") -> str:
    """Return the value of a flag. An empty value is the default."""
    setting = settings.get(flag)
    return setting.value if setting and setting.value else otherwise


def is_on(settings: Settings, flag: str, *, default: bool = False) -> bool:
    """Return whether a boolean flag is on. Raise Unreadable if Go cannot read its value."""
    value = value_of(settings, flag)
    if not value:
        return default
    if value not in TRUE + FALSE:
        raise Unreadable(f"`{flag}` of etcd is `{one_line(value, 100)}`, which is not true or false")
    return value in TRUE


def number_of(settings: Settings, flag: str, default: int) -> int:
    """Return the number of a flag. Raise Unreadable if it is none."""
    value = value_of(settings, flag, str(default))
    try:
        if len(value) > 20:
            raise ValueError
        return int(value, 0)
    except ValueError:
        raise Unreadable(f"`{flag}` of etcd is `{one_line(value, 100)}`, which is not a number") from None


def urls_of(settings: Settings, flag: str, default: str = "") -> tuple[str, ...]:
    """Return the URLs of a flag."""
    return tuple(each.strip() for each in value_of(settings, flag, default).split(",") if each.strip())
