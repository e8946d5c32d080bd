"""`dataclass` for frozen classes, with methods that all of them share.

The standard library compiles six methods for each frozen class. For the classes that `status` imports, this takes a
sixth of its CPU time. Here only `__init__` is compiled. mypy sees the decorator of the standard library. Fields,
equality, hash and text are the same.
"""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")


def _shared_dataclass(
    *, frozen: bool, kw_only: bool = False, order: bool = False
) -> Callable[[type[T]], type[T]]:
    if not frozen or order:
        return dataclasses.dataclass(frozen=frozen, kw_only=kw_only, order=order)

    def decorate(cls: type[T]) -> type[T]:
        decorated = dataclasses.dataclass(eq=False, repr=False, kw_only=kw_only)(cls)
        compared = [field.name for field in dataclasses.fields(decorated) if field.compare]  # type: ignore[arg-type]
        methods = {
            "__setattr__": _set_once,
            "__delattr__": _refuse_delete,
            "__repr__": _text,
            "__eq__": _equality(compared),
            "__hash__": _hash(compared),
        }
        for name, method in methods.items():
            setattr(decorated, name, method)
        return decorated

    return decorate


def _set_once(self: Any, name: str, value: object) -> None:
    """Set a field for the first time, which `__init__` does. Raise FrozenInstanceError for everything else."""
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _refuse_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r} of {type(self).__name__}")


def _text(self: Any) -> str:
    values = (
        f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr
    )
    return f"{type(self).__qualname__}({', '.join(values)})"


def _equality(names: list[str]) -> Callable[[Any, Any], Any]:
    values = _values(names)
    return lambda self, other: (
        values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented
    )


def _hash(names: list[str]) -> Callable[[Any], int]:
    values = _values(names)
    return lambda self: hash(values(self))


def _values(names: list[str]) -> Callable[[Any], object]:
    return attrgetter(*names) if names else lambda _: ()


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _shared_dataclass
