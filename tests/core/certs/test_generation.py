"""Every combination of what three hosts say about the PKI directory: when it is refused as an older copy."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from etcdup.core.certs.generation import refuse_stale_pki, stale_pki_notes
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen
from tests.support.fake_world import spec_of
from tests.support.initial_states import BASE, first_states
from tests.support.observed_model import NOW, ObservedModel

SPEC = spec_of(3, version=BASE)
NAMES = ("infra1", "infra2", "infra3")
KNOWN, OTHER, THIRD = "a" * 16, "b" * 16, "c" * 16
CHANGES = ("", KNOWN, OTHER, THIRD)
# How much later than the certificate of this copy the certificate of the host was issued; None: it is the same one.
LEAVES = {"same": None, "older": -1, "newer": 1, "not valid yet": 10_000}


def observe(changes: tuple[str, ...], leaves: tuple[str, ...]) -> Observed:
    observed = ObservedModel(SPEC, SPEC).observed(next(first_states(tuple("HHH"))))
    hosts = {
        name: replace(observed.reachable()[name], pki_change=change)
        for name, change in zip(NAMES, changes, strict=True)
    }
    other = {
        name: leaf_of(observed, name, days)
        for name, kind in zip(NAMES, leaves, strict=True)
        if (days := LEAVES[kind]) is not None
    }
    return replace(
        observed, hosts=hosts, other_leaves=other, pki=replace(observed.pki, changes=("0" * 16, KNOWN))
    )


def leaf_of(observed: Observed, name: str, days: int) -> CertSeen:
    ours = observed.pki.certs[f"server/{name}"]
    begins = ours.not_before + timedelta(days=days)
    return replace(ours, fingerprint="other", common_name=name, not_before=begins)


@pytest.mark.slow
def test_an_older_copy_needs_two_witnesses() -> None:
    for changes, leaves in product(product(CHANGES, repeat=3), product(LEAVES, repeat=3)):
        observed = observe(changes, leaves)
        refused = bool(refuse_stale_pki(SPEC, observed))
        unknown = [change for change in changes if change in (OTHER, THIRD)]
        proof = [
            leaf for leaf, change in zip(leaves, changes, strict=True) if leaf == "newer" and change != KNOWN
        ]
        if set(changes) == {KNOWN}:
            assert not refused, "every host has a change of this copy, whatever its certificate is"
        if len(unknown) <= 1 and not proof:
            assert not refused, "one host alone"
        if len(set(unknown)) == 1 and len(unknown) >= 2:
            assert refused, (changes, leaves)
        assert refused or not proof, (changes, leaves)
        if not refused:
            assert len(stale_pki_notes(observed)) == len(unknown)


@pytest.mark.parametrize("name", ["infra2", "etcd-client"])
def test_a_certificate_of_another_name_is_no_witness(name: str) -> None:
    observed = observe(("", "", ""), ("newer", "same", "same"))
    leaf = replace(observed.other_leaves["infra1"], common_name=name)
    assert leaf.not_before < NOW
    assert refuse_stale_pki(SPEC, replace(observed, other_leaves={"infra1": leaf})) == ()
