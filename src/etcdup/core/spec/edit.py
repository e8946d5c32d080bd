"""Another address for one host in cluster.yaml's text: nothing else in the file changes, comments included."""

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from etcdup.core.spec.model import Spec
from etcdup.core.spec.yaml_document import Document, read_document
from etcdup.errors import Problem

# What a host may have in cluster.yaml that belongs to its machine, beside its address.
_MACHINE_KEYS = ("ssh_address", "listen_address")


def with_address(text: str, name: str, address: str) -> str | None:
    """The text with this host's new address. None where it is written in a way that cannot be edited surely.

    `text` is a cluster.yaml without faults. The old value's style is kept, unless the new one needs quotes.
    """
    index = _index_of(read_document(text), name)
    bare = text.removeprefix("\ufeff")
    node = _scalar_at(YAML(typ="safe", pure=True).compose(bare), "hosts", index, "address")
    if node is None or node.start_mark.line != node.end_mark.line or node.style in ("|", ">"):
        return None
    start, end = node.start_mark.index, node.end_mark.index
    bom = text[: len(text) - len(bare)]
    for quote in dict.fromkeys((node.style or "", '"')):
        edited = f"{bom}{bare[:start]}{quote}{address}{quote}{bare[end:]}"
        if _is_only_difference(text, edited, index, address):
            return edited
    return None


def machine_bindings(text: str, spec: Spec, name: str) -> tuple[Problem, ...]:
    """The places of what binds this host to its old machine: a person has to say what becomes of it."""
    document = read_document(text)
    index = _index_of(document, name)
    host = spec.host(name)
    found = []
    for key in _MACHINE_KEYS:
        if getattr(host, key) is not None:
            at = document.keys["hosts", index, key]
            words = f"`{key}: {getattr(host, key)}` of {name} may belong to its old machine"
            hint = f"write its new `address` and `{key}` here by hand, then `etcdup member replace {name}`"
            found.append(Problem(at.line, at.column, words, hint))
    return tuple(found)


def _index_of(document: Document, name: str) -> int:
    names = [host.get("name") for host in document.data["hosts"]]
    return names.index(name)


def _scalar_at(node: Node | None, *path: str | int) -> ScalarNode | None:
    for part in path:
        if isinstance(part, int):
            node = node.value[part] if node is not None else None
        elif isinstance(node, MappingNode):
            node = next((value for key, value in node.value if key.value == part), None)
    return node if isinstance(node, ScalarNode) else None


def _is_only_difference(old: str, new: str, index: int, address: str) -> bool:
    """Read back, so that no doubt about the syntax is left: quotes, colons, comments, line ends."""
    before, after = read_document(old), read_document(new)
    if after.problems:
        return False
    before.data["hosts"][index]["address"] = address
    return bool(before.data == after.data)
