"""Parse the addresses of cluster.yaml into the form that etcd, certificates and URLs need.

A member's address becomes part of its identity (rule 5) and of its certificate (rule 18). It is therefore
converted to one canonical form when it is read. All comparisons use that form.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from etcdup.core.spec.units import WrongValue

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)):(\d{1,5})", re.ASCII)
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+", re.ASCII)
# An alias of ssh_config may contain characters that a DNS name may not, for example `_`.
_SSH_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*", re.ASCII)
LOOPBACK = "127.0.0.1"
_EXAMPLE_HINT = "write an address, for example 192.168.8.66"


def parse_address(value: object) -> str:
    """Return the address that members and clients connect to: a canonical IP, or a DNS name in lower case.

    Raise WrongValue if the value is neither.
    """
    text = _bare(value, port_keys="`client_port` and `peer_port`")
    ip = parse_ip(text)
    if ip is not None:
        return _single_host(ip, text)
    if _DIGITS_AND_DOTS.fullmatch(text) or ":" in text:
        raise WrongValue(f"`{text}` is not an IP address", _ip_hint(text))
    if not _DNS_NAME.fullmatch(text) or len(text) > 253:
        raise WrongValue(f"`{text}` is neither an IP address nor a DNS name", _EXAMPLE_HINT)
    return text.lower().removesuffix(".")


def parse_listen_address(value: object) -> str:
    """Return the IP address of the host that etcd listens on; `0.0.0.0` and `::` are all its addresses.

    Raise WrongValue if the value is a name or wrong.
    """
    text = _bare(value, port_keys="`client_port` and `peer_port`")
    ip = parse_ip(text)
    if ip is None:
        raise WrongValue(
            f"`{text}` is not an IP address; etcd can only listen on IP addresses", _EXAMPLE_HINT
        )
    return str(ip) if is_any_address(str(ip)) else _single_host(ip, text)


def parse_ssh_address(value: object) -> str:
    """Return the address that SSH connects to: an IP, a DNS name or an alias of ssh_config.

    Raise WrongValue if the value is none of these.
    """
    if isinstance(value, str) and "@" in value:
        raise WrongValue(
            f"`{value}` contains a user name", "write the address only; set the user with `user` below `ssh:`"
        )
    text = _bare(value, port_keys="`port` below `ssh:`")
    ip = parse_ip(text)
    if ip is not None:
        return str(ip)
    if not _SSH_NAME.fullmatch(text):
        raise WrongValue(f"`{text}` is neither an IP address nor a host name", _EXAMPLE_HINT)
    return text


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that the text is, or None."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    """Return True if the address reaches only the machine that connects to it."""
    ip = parse_ip(address)
    return ip.is_loopback if ip is not None else address.lower() in ("localhost", "localhost.localdomain")


def is_any_address(address: str) -> bool:
    """Return True if etcd listens on all addresses of its host with this one."""
    return address in ("0.0.0.0", "::")  # noqa: S104


def _bare(value: object, *, port_keys: str) -> str:
    """Return the value if it is a text without a scheme, a port or brackets."""
    if not isinstance(value, str) or not value.strip():
        raise WrongValue(f"`{value}` is not an address", _EXAMPLE_HINT)
    text = value.strip()
    if "://" in text:
        host = text.split("://", 1)[1].split("/")[0]
        raise WrongValue(
            f"`{text}` is a URL, not an address", f"write only the address: {_without_port(host)}"
        )
    if match := _WITH_PORT.fullmatch(text):
        hint = f"write only the address: {match[1] or match[2]}; set the port with {port_keys}"
        raise WrongValue(f"`{text}` contains a port", hint)
    if text.startswith("[") and text.endswith("]"):
        raise WrongValue(f"`{text}` has brackets", f"write the address without brackets: {text[1:-1]}")
    return text


def _without_port(host: str) -> str:
    match = _WITH_PORT.fullmatch(host)
    return (match[1] or match[2]) if match else host


def _single_host(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> str:
    """Return the canonical form of an address that one host can have. 0.0.0.0 is not such an address (rule 85)."""
    hint = "write the IP address of the host that the other members connect to"
    if ip.is_unspecified:
        raise WrongValue(f"`{text}` means all addresses of a host, not one address", hint)
    if ip.is_multicast or str(ip) == "255.255.255.255":
        raise WrongValue(f"`{text}` is a multicast or broadcast address, not the address of one host", hint)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            raise WrongValue(f"`{text}` is an IPv4 address in IPv6 form", f"write {ip.ipv4_mapped}")
        if ip.scope_id is not None:
            raise WrongValue(
                f"`{text}` contains a network interface, which is not allowed in URLs and certificates", hint
            )
    return str(ip)


def _ip_hint(text: str) -> str:
    octets = text.split(".")
    if len(octets) == 4 and any(len(octet) > 1 and octet.startswith("0") for octet in octets):
        return f"remove the leading zeros: {'.'.join(octet.lstrip('0') or '0' for octet in octets)}"
    return _EXAMPLE_HINT


def is_web_url(text: str) -> bool:
    """Return whether this is a URL of HTTP or HTTPS with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in text
    except ValueError:
        return False
