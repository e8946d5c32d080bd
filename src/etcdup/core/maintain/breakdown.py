"""The prefixes to show: few rows that explain most of the bytes, and the resources of Kubernetes by name."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from etcdup.core.etcd.keys import key_text
from etcdup.core.maintain.space import Use, parent_of

# The prefix of kube-apiserver, unless `--etcd-prefix` has another one.
KUBERNETES = b"/registry/"
_ROWS = 20
# A prefix is shown by its parts if it has this share of all bytes, and a few parts have most of its bytes.
_LEAST_SHARE = 0.05
_FEW_PARTS = 10
_MOST = 0.8
# The directory of a service has one more level.
_TWO_LEVELS = frozenset((b"services",))


class PrefixUse(NamedTuple):
    """A row of the table. `is_part`: keys that are directly below the prefix, because its other parts have rows."""

    prefix: bytes
    use: Use
    is_part: bool = False


class ResourceUse(NamedTuple):
    """A resource of Kubernetes. `namespace` is empty for all namespaces together, and for resources without one."""

    resource: str
    namespace: str
    use: Use


def choose_prefixes(prefixes: Mapping[bytes, Use], rows: int = _ROWS) -> tuple[PrefixUse, ...]:
    """Return at most `rows` prefixes, those with the most bytes first. The last row can be all other prefixes."""
    sums = _sums_with_parents(prefixes)
    children: dict[bytes, list[bytes]] = {}
    for name in sums:
        if name:
            children.setdefault(parent_of(name), []).append(name)
    found = list(_expand(b"", sums, prefixes, children))
    found.sort(key=lambda each: (-each.use.total, each.prefix))
    return tuple(found[:rows])


def _sums_with_parents(prefixes: Mapping[bytes, Use]) -> dict[bytes, Use]:
    sums: dict[bytes, Use] = {b"": Use()}
    for name, use in prefixes.items():
        sums[name] = sums.get(name, Use()) + use
        above = name
        while above:
            above = parent_of(above)
            sums[above] = sums.get(above, Use()) + use
    return sums


def _expand(
    name: bytes,
    sums: Mapping[bytes, Use],
    prefixes: Mapping[bytes, Use],
    children: Mapping[bytes, list[bytes]],
) -> Iterator[PrefixUse]:
    """Yield a prefix, or its parts if they say more."""
    parts, size, whole = children.get(name, []), sums[name].total, sums[b""].total
    largest = sorted((sums[part].total for part in parts), reverse=True)[:_FEW_PARTS]
    if parts and (size == whole or (size >= _LEAST_SHARE * whole and sum(largest) >= _MOST * size)):
        for part in parts:
            yield from _expand(part, sums, prefixes, children)
        if own := prefixes.get(name):
            yield PrefixUse(name, own, is_part=True)
    elif size:
        yield PrefixUse(name, sums[name])


def kubernetes_resources(prefixes: Mapping[bytes, Use]) -> tuple[ResourceUse, ...]:
    """Return the resources, and each of their namespaces, those with the most bytes first."""
    sums: dict[tuple[str, str], Use] = {}
    for name, use in prefixes.items():
        if name.startswith(KUBERNETES):
            parts = name[len(KUBERNETES) : -1].split(b"/")
            resource, namespace = _resource(parts)
            for key in {(resource, ""), (resource, namespace)}:
                sums[key] = sums.get(key, Use()) + use
    ordered = sorted(sums.items(), key=lambda each: (-each[1].total, each[0]))
    return tuple(ResourceUse(resource, namespace, use) for (resource, namespace), use in ordered if resource)


def _resource(parts: list[bytes]) -> tuple[str, str]:
    """Return the resource and the namespace of a prefix such as `pods/default/`.

    Resources of a CustomResourceDefinition, and some others, have their API group first.
    """
    has_group = len(parts) > 1 and b"." in parts[0]
    size = 2 if has_group or parts[0] in _TWO_LEVELS else 1
    names = [key_text(part) for part in parts]
    resource = f"{names[1]}.{names[0]}" if has_group else "/".join(names[:size])
    return resource, names[size] if len(names) > size else ""
