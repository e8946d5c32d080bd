"""The settings of a running etcd process, from its arguments and its environment, by flag. Pure."""

from collections.abc import Mapping, Sequence

_ON = ("", "true", "1", "t", "T", "TRUE", "True")
# Defaults of etcd, for flags that neither the arguments nor the environment set. A quota of 0 means the default too.
DEFAULTS = {"heartbeat-interval": 100, "election-timeout": 1000, "quota-backend-bytes": 2 * 1024**3}


def process_settings(argv: Sequence[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the settings by flag. Arguments win over ETCD_* variables, as in etcd."""
    found = {
        name.removeprefix("ETCD_").lower().replace("_", "-"): value
        for name, value in variables.items()
        if name.startswith("ETCD_")
    }
    rest = list(argv[1:])
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            continue
        flag, given, value = word.lstrip("-").partition("=")
        if not given and rest and not rest[0].startswith("-"):
            value = rest.pop(0)
        found[flag] = value
    return found


def is_on(settings: Mapping[str, str], flag: str) -> bool:
    """Return whether a flag that is off by default is on."""
    return flag in settings and settings[flag] in _ON


def urls_of(settings: Mapping[str, str], flag: str) -> tuple[str, ...]:
    return tuple(filter(None, settings.get(flag, "").split(",")))


def number_of(settings: Mapping[str, str], flag: str, otherwise: int) -> int:
    """Return the value of a flag of DEFAULTS in a running process, or `otherwise` if the process does not show it."""
    if not settings or "config-file" in settings:
        return otherwise
    try:
        return int(settings.get(flag, "0")) or DEFAULTS[flag]
    except ValueError:
        return otherwise
