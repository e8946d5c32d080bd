"""What consumers have to do between the phases of a change of CA, as text. Pure."""

from collections.abc import Mapping, Sequence

from etcdup.core.certs.ca_rotation import RotationStage, consumers_of_old_ca
from etcdup.core.observed.model import Observed

# What consumers have to have before a phase, as the operator confirms it: each phase by a word of its own, so that the
# same command, run again after a kill, never confirms the next one.
CONFIRMATIONS: dict[RotationStage, str] = {"sign": "ca", "drop": "certs"}
NEXT_STAGE: dict[RotationStage | None, RotationStage] = {"trust": "sign", "sign": "drop"}

Connected = Mapping[str, Sequence[str]]


def instructions(folder: str, observed: Observed, before: RotationStage, connected: Connected) -> list[str]:
    """Return what the operator has to do before this phase. `folder` is the PKI's."""
    if before == "sign":
        return [
            f"now: give every consumer {folder}/ca.pem as its CA file. It holds the old CA and the new one",
            "  kube-apiserver: --etcd-cafile on each control plane host, and restart it there; "
            "patroni: etcd3.cacert; prometheus: ca_file",
            "  whoever trusts the old CA alone loses the cluster with the next phase",
            *_connected_lines(connected),
        ]
    issue = [
        f"  etcdup certs issue {name} --out DIR      (or --csr FILE, or `certs forget {name}`)"
        for name in consumers_of_old_ca(observed.pki)
    ]
    return [
        "now: give every consumer a certificate of the new CA, and restart what reads it at start only",
        *(issue or ["  none that was issued here has one of the old CA alone"]),
        *_connected_lines(connected),
        "  which certificate each of them shows cannot be seen as long as it is taken. Whoever copied `admin` has "
        "to copy it again",
        "  whoever still shows one of the old CA is turned away by the first member of the next phase, which then "
        "stops there; a client that knows that member alone is locked out",
    ]


def continue_hint(stage: RotationStage) -> str:
    return f"then `etcdup certs rotate-ca --consumers-have {CONFIRMATIONS[stage]}` goes on"


def finished_lines(folder: str) -> list[str]:
    return [
        "the old CA is trusted no more: no change of CA is under way",
        f"consumers may drop it too, with {folder}/ca.pem as it is now; a client that still "
        "shows a certificate of the old CA is turned away, which etcd's log says",
    ]


def _connected_lines(connected: Connected) -> list[str]:
    if not connected:
        return ["  nobody is connected to a client port right now, but the hosts themselves"]
    return [f"  connected now: {address} (to {', '.join(names)})" for address, names in connected.items()]
