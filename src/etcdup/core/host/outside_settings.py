"""Settings that reach etcd from outside: drop-ins of etcd.service, and the environment of systemd.

etcd reads each variable ETCD_*. So a file of an older installation changes a new member. systemd removes the variables
of proxies before it starts etcd (unit.py). Of all others, plan and check name the source.
"""

from collections.abc import Iterator

from etcdup.core.host.host_case import HostCase
from etcdup.core.host.settings import SETTINGS_VARIABLE, changed_variables, settings_digest
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.unit import DropIn
from etcdup.core.plan.plan import Refused

# etcdup cannot know what etcd does with another value of these options.
_REPLACED = frozenset(
    {"ExecStart", "EnvironmentFile", "PassEnvironment", "User", "Group", "RootDirectory", "RootImage", "Type"}
)
_PREFIXES = ("ETCD_", "ETCDUP_")
# etcd 3.4 needs it on arm64, and it changes no setting.
_HARMLESS = "ETCD_UNSUPPORTED_ARCH"


def outside_variables(required: dict[str, str], running: dict[str, str]) -> tuple[str, ...]:
    """Return the variables of the process that its etcd.conf cannot explain: a restart does not change them.

    etcd.conf contains a digest of its settings. If the process has it, the process was started with these settings. A
    variable that the process does not have was missing in etcd.conf: lines of it were deleted, and not the digest.
    """
    if running.get(SETTINGS_VARIABLE) != settings_digest(required):
        return ()
    return tuple(name for name in changed_variables(required, running) if name in running)


def refuse_outside_settings(case: HostCase) -> Iterator[Refused]:
    """Refuse a new member whose settings would not be those of cluster.yaml."""
    for drop_in in case.seen.drop_ins:
        if found := _own_names(drop_in):
            message = f"{case.name}: {drop_in.path} sets {', '.join(found)} of etcd.service"
            others = "" if "/etcd.service.d/" in drop_in.path else ", which is for other services too"
            hint = (
                f"on {case.name}, remove these names from {drop_in.path}{others}, and run `systemctl daemon-reload`. "
                "Set the values in cluster.yaml"
            )
            yield Refused(message, hint=hint, host=case.name, rules=(51,))
    if names := tuple(filter(_is_setting, case.seen.manager_variables)):
        message = f"{case.name}: systemd gives {', '.join(names)} to every service"
        hint = (
            f"on {case.name}, run `systemctl unset-environment {' '.join(names)}`, and remove the names from "
            "`DefaultEnvironment=` in /etc/systemd/system.conf and /etc/systemd/system.conf.d"
        )
        yield Refused(message, hint=hint, host=case.name, rules=(51,))


def outside_notes(seen: HostSeen, required: dict[str, str]) -> Iterator[str]:
    """Yield what changes a member from outside, and that no step of etcdup changes."""
    names = outside_variables(required, dict(seen.unit.environment)) if seen.unit.is_running else ()
    if names:
        yield (
            f"{seen.host}: etcd runs with {', '.join(names)} from {_source(seen, names)}, not from etcd.conf. "
            "A restart does not change that"
        )
    yield from drop_in_notes(seen, names)


def drop_in_notes(seen: HostSeen, named: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield each drop-in of etcd.service with what it sets, except those whose variables are named already."""
    for drop_in in seen.drop_ins:
        if not drop_in.is_general and not set(drop_in.variables) & set(named):
            options = ", ".join((*drop_in.variables, *drop_in.options)) or "nothing"
            yield f"{seen.host}: {drop_in.path} changes etcd.service: {options}"


def _source(seen: HostSeen, names: tuple[str, ...]) -> str:
    files = [each.path for each in seen.drop_ins if set(each.variables) & set(names)]
    files = files or [each.path for each in seen.drop_ins if "EnvironmentFile" in each.options]
    return ", ".join(files) or "the environment of systemd (`systemctl show-environment`)"


def _own_names(drop_in: DropIn) -> tuple[str, ...]:
    variables = (name for name in drop_in.variables if _is_setting(name))
    return (*variables, *(name for name in drop_in.options if name in _REPLACED))


def _is_setting(name: str) -> bool:
    return name.startswith(_PREFIXES) and name != _HARMLESS
