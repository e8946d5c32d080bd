"""Rules between the keys of the section tls."""

import re
from collections.abc import Iterator

from etcdup.core.spec.host_rules import Mistake
from etcdup.core.spec.model import Spec
from etcdup.core.spec.yaml_document import Loc

_TRIPLES = (("ca", "cert", "key"), ("peer_ca", "peer_cert", "peer_key"), ("client_cert", "client_key"))
_CRL_KEYS = ("crl_file", "peer_crl_file")
_BRACES = re.compile(r"\{[^}]*\}?|\}")


def tls_mistakes(spec: Spec) -> Iterator[Mistake]:
    """Yield every mistake in the section tls."""
    yield from _provided(spec) if spec.tls.mode == "provided" else _managed(spec)


def _managed(spec: Spec) -> Iterator[Mistake]:
    mode: Loc = ("tls", "mode")
    for key in (*(key for triple in _TRIPLES for key in triple), *_CRL_KEYS):
        if getattr(spec.tls, key) is not None:
            hint = f"add `mode: provided` to use your own certificates, or remove `{key}`"
            yield Mistake((("tls", key), mode), f"`{key}` is only allowed with `mode: provided`", hint)
    if spec.tls.ca_days < spec.tls.days:
        message = f"`ca_days` ({spec.tls.ca_days}) is less than `days` ({spec.tls.days})"
        hint = "set `ca_days` to at least `days`: a CA must be valid as long as its certificates"
        at = "ca_days" if "ca_days" in spec.tls.model_fields_set else "days"
        yield Mistake((("tls", at), ("tls", "ca_days"), ("tls", "days")), message, hint)


def _provided(spec: Spec) -> Iterator[Mistake]:
    """`ca`, `cert` and `key` are required. The files of peers, and those of clients, are all set or all absent."""
    mode: Loc = ("tls", "mode")
    for key in ("dir", "days", "ca_days", "passphrase_command"):
        if key in spec.tls.model_fields_set:
            message = f"`{key}` is only allowed with `mode: managed`"
            yield Mistake((("tls", key), mode), message, f"remove `{key}`")
    for triple in _TRIPLES:
        given = [key for key in triple if getattr(spec.tls, key) is not None]
        for key in triple:
            if getattr(spec.tls, key) is None and (given or triple[0] == "ca"):
                why = "`mode: provided`" if triple[0] == "ca" else f"`{given[0]}`"
                yield Mistake((("tls", key), mode), f"{why} also needs `{key}`", f"add `{key}:` with a path")
        for key in given:
            for found in _BRACES.findall(getattr(spec.tls, key)):
                if found != "{name}":
                    message = f"`{key}` contains `{found}`; only `{{name}}` is replaced, by the member's name"
                    yield Mistake((("tls", key),), message, "write `{name}`, or a path without braces")
    if spec.tls.peer_crl_file is not None and spec.tls.peer_ca is None:
        message = "`peer_crl_file` is only allowed with `peer_ca`"
        yield Mistake((("tls", "peer_crl_file"), mode), message, "use `crl_file`, which is for peers too")
