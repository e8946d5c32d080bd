"""What consumers have to do between the phases of a CA rotation, as text. Pure."""

from collections.abc import Mapping, Sequence

from etcdup.core.certs.ca_rotation import RotationStage, consumers_of_old_ca
from etcdup.core.certs.consumer_roles import CONSUMER_ROLES, likely_role
from etcdup.core.observed.connections import Client
from etcdup.core.observed.model import Observed

# What consumers need before a phase, as the operator confirms it with `--consumers-have`. Each phase has another value.
# So the same command, run again after a kill, never confirms the next phase.
CONFIRMATIONS: dict[RotationStage, str] = {"sign": "ca", "drop": "certs"}
READY_QUESTIONS: dict[RotationStage, str] = {
    "sign": "After this phase, clients that trust only the old CA cannot connect. Does each consumer trust both CAs?",
    "drop": "After this phase, members reject certificates of the old CA. Does each consumer use a certificate of the "
    "new CA?",
}
NEXT_STAGE: dict[RotationStage | None, RotationStage] = {"trust": "sign", "sign": "drop"}

Connected = Mapping[Client, Sequence[str]]


def instructions(folder: str, observed: Observed, before: RotationStage, connected: Connected) -> list[str]:
    """Return what the operator has to do before this phase. `folder` is the folder of the PKI."""
    if before == "sign":
        return [
            f"now: give {folder}/ca.pem to each consumer as its CA file. It contains the old CA and the new CA",
            *(f"  {each.name}: {each.ca_file}" for each in CONSUMER_ROLES.values()),
            "  Clients that trust only the old CA cannot connect after the next phase.",
            *_connected_lines(connected),
        ]
    issue = [
        f"  etcdup certs issue {name} --out DIR      (or --csr FILE, or `certs forget {name}`); "
        f"{CONSUMER_ROLES[likely_role(name)].cert_file}"
        for name in consumers_of_old_ca(observed.pki)
    ]
    return [
        "now: give each consumer a certificate of the new CA",
        *(issue or ["  each consumer that etcdup has issued a certificate to has one of the new CA"]),
        *_connected_lines(connected),
        "  etcdup cannot observe which certificate a client uses while members accept both CAs. If you copied the "
        "`admin` certificate, copy it again.",
        "  In the next phase, members drop the old CA one after the other. Each client must first be seen on a member "
        "without the old CA. For this, etcdup restarts members so that their clients connect to another one.",
        "  If a client is rejected or is not seen, the rotation stops and names it. Clients that have only the "
        "endpoint of the first member cannot connect then.",
    ]


def continue_hint(stage: RotationStage) -> str:
    return f"then run `etcdup certs rotate-ca --consumers-have {CONFIRMATIONS[stage]}`"


def finished_lines(folder: str) -> list[str]:
    return [
        "no member trusts the old CA any more: no CA rotation is in progress",
        f"consumers can drop the old CA too: {folder}/ca.pem no longer contains it. Members reject clients that still "
        "use a certificate of the old CA, and etcd logs each rejection",
    ]


def _connected_lines(connected: Connected) -> list[str]:
    if not connected:
        return ["  no client is connected at this moment"]
    shown = [
        f"  connected now: {client} to {', '.join(names)}" for client, names in sorted(connected.items())
    ]
    return [
        *shown,
        "  Clients that connect only from time to time, such as Prometheus, can be missing in this list.",
    ]
