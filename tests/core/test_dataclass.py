"""Frozen classes with shared methods behave as those of the standard library."""

import dataclasses
import pickle
from dataclasses import FrozenInstanceError, asdict, field, replace
from typing import Any

import pytest

from etcdup.core import dataclass as shared


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standard:
    name: str
    size: int = 3
    tags: tuple[str, ...] = field(default_factory=tuple)
    took_s: float = field(default=0.0, compare=False)
    secret: str = field(default="", repr=False)


@shared.dataclass(frozen=True, kw_only=True)
class Shared:
    name: str
    size: int = 3
    tags: tuple[str, ...] = field(default_factory=tuple)
    took_s: float = field(default=0.0, compare=False)
    secret: str = field(default="", repr=False)


@shared.dataclass(frozen=True, kw_only=True)
class Derived(Shared):
    more: int = 0


@shared.dataclass(frozen=True)
class Empty:
    pass


ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"name": "a"},
    {"name": "a", "took_s": 1.0},
    {"name": "a", "secret": "x"},
    {"name": "b", "size": 4, "tags": ("t",)},
)


@pytest.mark.parametrize("first", ARGUMENTS)
@pytest.mark.parametrize("second", ARGUMENTS)
def test_equality_and_hash(first: dict[str, Any], second: dict[str, Any]) -> None:
    equal = Standard(**first) == Standard(**second)
    assert (Shared(**first) == Shared(**second)) == equal
    assert (hash(Shared(**first)) == hash(Shared(**second))) == equal
    assert Shared(**first) != Derived(**first)
    assert Empty() == Empty()


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_text_and_copies(arguments: dict[str, Any]) -> None:
    made = Shared(**arguments)
    assert repr(made) == repr(Standard(**arguments)).replace("Standard", "Shared")
    assert asdict(made) == asdict(Standard(**arguments))
    assert replace(made, size=9) == Shared(**{**arguments, "size": 9})
    assert pickle.loads(pickle.dumps(made)) == made
    assert Derived(**arguments, more=2).more == 2


def test_an_instance_is_frozen() -> None:
    made = Shared(name="a")
    for name in ("name", "size", "another"):
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, 1)
    with pytest.raises(FrozenInstanceError):
        del made.name


def test_only_frozen_classes_share_methods() -> None:
    @shared.dataclass(frozen=True, order=True)
    class Ordered:
        value: int

    assert Ordered(1) < Ordered(2)
