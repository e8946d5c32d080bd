"""What an operator does first about hosts that cannot be reached."""

from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import Spec

_CONNECT_HINT = "check that the machine runs and that SSH accepts your key"
_OWN_NETWORK_HINT = (
    "first check the network of this machine, for example its VPN and its routes: it reaches no host. Then "
)


def unreachable_in_file(observed: Observed) -> dict[str, Unreachable]:
    """Return the hosts of cluster.yaml that cannot be reached."""
    return {name: each for name, each in observed.unreachable().items() if name not in observed.leaving}


def connect_hint(spec: Spec, observed: Observed) -> str:
    """Return what to check, once for all hosts. If this machine reaches no host, its own network comes first."""
    gone = unreachable_in_file(observed)
    hints = "; ".join(dict.fromkeys(each.hint for each in gone.values() if each.hint)) or _CONNECT_HINT
    no_answer = [each for each in gone.values() if not each.answered]
    return f"{_OWN_NETWORK_HINT}{hints}" if len(no_answer) == spec.size > 1 else hints
