"""How far the switch of a host is, and which member must run: the one of the other tool, or that of etcdup."""

from dataclasses import dataclass
from typing import Literal

from etcdup.core.spec.visible import one_line

# It is not in /etc/etcd, which another user may own: root runs a script of this directory.
SWITCH_FOLDER = "/etc/etcd.before-etcdup"

Stage = Literal["none", "switching", "returning", "new", "old"]
_MOST_WHY = 300


class UnreadableSwitch(ValueError):
    """The output of the script is not what it prints."""


@dataclass(frozen=True)
class SwitchState:
    """The stage of a host. `why` says why the new member did not start.

    `none`: nothing has begun, and the old member runs. `switching`, `returning`: the script has to end first. `new`,
    `old`: the script has ended, and this member runs.
    """

    stage: Stage
    why: str = ""

    @property
    def has_begun(self) -> bool:
        """Whether the script has begun, and has not ended with the old member."""
        return self.stage not in ("none", "old")

    @property
    def must_run(self) -> Literal["old", "new"]:
        """The member that runs when the script has ended."""
        return "new" if self.stage in ("switching", "new") else "old"

    @property
    def has_ended(self) -> bool:
        return self.stage not in ("switching", "returning")


def decide(files: frozenset[str], why: str = "") -> SwitchState:
    """Return the state, given the files that exist in the directory of the switch.

    A direction counts more than the end of an earlier one: `back` may be written after the new member was done.
    """
    if "begun" not in files:
        return SwitchState("none", why)
    if "back" in files:
        return SwitchState("old" if "old.done" in files else "returning", why)
    return SwitchState("new" if "new.done" in files else "switching", why)


# Argument: the directory. The script reads only.
STATE = r"""
folder=$1
for each in begun back new.done old.done; do [ ! -e "$folder/$each" ] || echo "file $each"; done
[ ! -f "$folder/why" ] || { printf 'why '; head -n 1 "$folder/why"; }
"""


def state_argv() -> tuple[str, ...]:
    """Return the command that prints how far the switch of a host is."""
    return ("sh", "-c", STATE, "switch-state", SWITCH_FOLDER)


def parse_state(text: str) -> SwitchState:
    """Return the state. Raise UnreadableSwitch if the host prints anything else."""
    files, why = set(), ""
    for line in text.splitlines()[:16]:
        word, _, rest = line.partition(" ")
        if word == "file" and rest in ("begun", "back", "new.done", "old.done"):
            files.add(rest)
        elif word == "why":
            why = one_line(rest, _MOST_WHY)
        else:
            raise UnreadableSwitch(one_line(line, 100))
    return decide(frozenset(files), why)
