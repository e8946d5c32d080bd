"""Addresses as people write them, and as etcd, certificates and URLs need them.

A member's address becomes part of its identity (rule 5) and of its certificate (rule 18), so it is
brought into one canonical form when it is read, and compared in that form.
"""

import ipaddress
import re

from etcdup.core.spec.units import WrongValue

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)):(\d{1,5})", re.ASCII)
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+", re.ASCII)
# OpenSSH's aliases may hold more than a DNS name may, `_` first of all.
_SSH_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*", re.ASCII)


def parse_address(value: object) -> str:
    """What members and clients dial: an IP in canonical form, or a DNS name in lower case.

    Raises WrongValue.
    """
    text = _bare(value, port_keys="`client_port` and `peer_port`")
    ip = parse_ip(text)
    if ip is not None:
        return _dialable(ip, text)
    if _DIGITS_AND_DOTS.fullmatch(text) or ":" in text:
        raise WrongValue(f"`{text}` is not an IP address", _ip_advice(text))
    if not _DNS_NAME.fullmatch(text) or len(text) > 253:
        raise WrongValue(f"`{text}` is neither an IP address nor a DNS name")
    return text.lower().removesuffix(".")


def parse_listen_address(value: object) -> str:
    """The machine's own IP that etcd binds; etcd binds no names. Raises WrongValue."""
    text = _bare(value, port_keys="`client_port` and `peer_port`")
    ip = parse_ip(text)
    if ip is None:
        raise WrongValue(f"`{text}` is not an IP address; etcd listens on IP addresses only")
    return _dialable(ip, text)


def parse_ssh_address(value: object) -> str:
    """Where SSH connects: an IP, a DNS name or an alias of ssh_config. Raises WrongValue."""
    if isinstance(value, str) and "@" in value:
        raise WrongValue(f"`{value}` holds a user", "name the user once, with `user` below `ssh:`")
    text = _bare(value, port_keys="`port` below `ssh:`")
    ip = parse_ip(text)
    if ip is not None:
        return str(ip)
    if not _SSH_NAME.fullmatch(text):
        raise WrongValue(f"`{text}` is neither an IP address nor a host name")
    return text


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for whatever else it may be."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    """Whether the address reaches only the machine that dials it."""
    ip = parse_ip(address)
    return ip.is_loopback if ip is not None else address.lower() in ("localhost", "localhost.localdomain")


def _bare(value: object, *, port_keys: str) -> str:
    """The value, if it is text without a scheme, a port or brackets."""
    if not isinstance(value, str) or not value.strip():
        raise WrongValue(f"`{value}` is not an address; write it like 192.168.8.66")
    text = value.strip()
    if "://" in text:
        host = text.split("://", 1)[1].split("/")[0]
        raise WrongValue(f"`{text}` is a URL", f"write the address alone, like {_without_port(host)}")
    if match := _WITH_PORT.fullmatch(text):
        hint = f"write {match[1] or match[2]} here, and the port with {port_keys}"
        raise WrongValue(f"`{text}` holds a port", hint)
    if text.startswith("[") and text.endswith("]"):
        raise WrongValue(f"`{text}` is in brackets", f"write the address alone, like {text[1:-1]}")
    return text


def _without_port(host: str) -> str:
    match = _WITH_PORT.fullmatch(host)
    return (match[1] or match[2]) if match else host


def _dialable(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> str:
    """The canonical form of an address that one machine can have. 0.0.0.0 is none (rule 85)."""
    advice = "write the machine's own address, the one that the other members reach"
    if ip.is_unspecified:
        raise WrongValue(f"`{text}` means every address, not one machine's", advice)
    if ip.is_multicast or str(ip) == "255.255.255.255":
        raise WrongValue(f"`{text}` is not one machine's address", advice)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            raise WrongValue(f"`{text}` is an IPv4 address in IPv6 form", f"write {ip.ipv4_mapped}")
        if ip.scope_id is not None:
            raise WrongValue(
                f"`{text}` holds a network interface, which URLs and certificates cannot", advice
            )
    return str(ip)


def _ip_advice(text: str) -> str:
    octets = text.split(".")
    if len(octets) == 4 and any(len(octet) > 1 and octet.startswith("0") for octet in octets):
        return (
            f"write it without leading zeros, like {'.'.join(octet.lstrip('0') or '0' for octet in octets)}"
        )
    return ""
