"""Compute the planner's slowest pure functions once for each input. An exploration calls them thousands of times."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from etcdup.core.host import drift
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.planner import planner, reconcile
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import HostSpec, Spec


@contextmanager
def memoized() -> Iterator[None]:
    """Memoize for plans of one cluster.yaml with any version. The keys contain everything else that matters."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("desired_files", "desired_settings"):
            patch.setattr(drift, name, _memoize(vars(drift)[name], _of_host))
        for name in ("pki_files", "handshake_files"):
            patch.setattr(drift, name, _memoize(vars(drift)[name], _of_pki_files))
        patch.setattr(drift, "start_file", _memoize(vars(drift)["start_file"], _of_start_file))
        for module in (planner, reconcile):
            patch.setattr(module, "certificate_steps", _memoize(vars(module)["certificate_steps"], _of_pki))
        patch.setattr(planner, "refuse_version", _memoize(vars(planner)["refuse_version"], _of_version))
        yield


def _memoize(function: Callable[..., Any], key: Callable[..., object]) -> Callable[..., Any]:
    results: dict[object, Any] = {}

    def memoized_function(*args: Any, **options: Any) -> Any:
        inputs = key(*args, **options)
        if inputs not in results:
            results[inputs] = function(*args, **options)
        return results[inputs]

    return memoized_function


def _of_host(spec: Spec, host: HostSpec, layout: Layout, token: str, pki: PkiSeen) -> object:
    return spec.version, token, *_of_pki_files(host, layout, pki)


def _of_pki_files(host: HostSpec, layout: Layout, pki: PkiSeen) -> tuple[object, ...]:
    roles = (f"{kind}/{host.name}" for kind in ("server", "peer", "health"))
    return host.name, *(pki.files.get(role) for role in roles)


def _of_start_file(spec: Spec, host: HostSpec, layout: Layout) -> object:
    return host.name


def _of_pki(spec: Spec, observed: Observed) -> object:
    return tuple(observed.pki.files.items())


def _of_version(spec: Spec, *, vouched: bool) -> object:
    return spec.version, vouched
