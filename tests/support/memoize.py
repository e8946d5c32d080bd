"""The planner's slowest parts, which are pure, each asked once: exploring asks the same thousands of times."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from etcdup.core.host import drift
from etcdup.core.observed.model import Observed, PkiSeen
from etcdup.core.planner import planner, reconcile
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import HostSpec, Spec


@contextmanager
def memoized() -> Iterator[None]:
    """For plans of one cluster.yaml, whatever its version: answers are known by what else they depend on."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("desired_files", "desired_settings"):
            patch.setattr(drift, name, _memoize(getattr(drift, name), _of_host))
        for module in (planner, reconcile):
            patch.setattr(module, "certificate_steps", _memoize(vars(module)["certificate_steps"], _of_pki))
        patch.setattr(planner, "refuse_version", _memoize(vars(planner)["refuse_version"], _of_version))
        yield


def _memoize(function: Callable[..., Any], key: Callable[..., object]) -> Callable[..., Any]:
    known: dict[object, Any] = {}

    def answered(*args: Any, **options: Any) -> Any:
        about = key(*args, **options)
        if about not in known:
            known[about] = function(*args, **options)
        return known[about]

    return answered


def _of_host(spec: Spec, host: HostSpec, layout: Layout, token: str, pki: PkiSeen) -> object:
    roles = (f"{kind}/{host.name}" for kind in ("server", "peer", "health"))
    return spec.version, host.name, token, *(pki.files.get(role) for role in roles)


def _of_pki(spec: Spec, observed: Observed) -> object:
    return tuple(observed.pki.files.items())


def _of_version(spec: Spec, *, vouched: bool) -> object:
    return spec.version, vouched
