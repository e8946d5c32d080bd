"""Change the address of one host in the text of cluster.yaml. Everything else stays, comments included."""

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from etcdup.core.spec.address import is_any_address
from etcdup.core.spec.model import Spec
from etcdup.core.spec.yaml_document import Document, read_document
from etcdup.errors import Problem

# Keys of a host, in addition to `address`, whose values may belong to one machine.
_MACHINE_KEYS = ("ssh_address", "listen_address")


def with_address(text: str, name: str, address: str) -> str | None:
    """Return the text with the new address of the host, or None if the old one cannot be edited safely.

    `text` is a valid cluster.yaml. The style of the old value is kept, unless the new value needs quotes.
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
    """Return the keys that may still describe the host's old machine. The operator has to change them by hand."""
    document = read_document(text)
    index = _index_of(document, name)
    host = spec.host(name)
    found = []
    for key in _MACHINE_KEYS:
        if (value := getattr(host, key)) is not None and not is_any_address(value):
            at = document.keys["hosts", index, key]
            message = f"`{key}: {value}` of {name} may belong to the old machine"
            hint = (
                f"write the new `address` and `{key}` of {name} here, then run `etcdup member replace {name}`"
            )
            found.append(Problem(at.line, at.column, message, hint))
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
    """Return True if both texts, read again, differ only in this address.

    This proves that quotes, colons, comments and line ends were edited correctly.
    """
    before, after = read_document(old), read_document(new)
    if after.problems:
        return False
    before.data["hosts"][index]["address"] = address
    return bool(before.data == after.data)
