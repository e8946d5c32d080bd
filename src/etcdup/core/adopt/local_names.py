"""The files of an adopted cluster on the operator's machine."""

from pathlib import PurePosixPath

from etcdup.core.spec.model import Spec

_DRAFTED = "pki"


def tls_folder(spec: Spec) -> str:
    """Return the folder of the certificates, if an adoption made it; empty if the operator chose other paths."""
    if spec.tls.mode == "managed":
        return spec.tls.dir
    tls = spec.tls
    paths = filter(None, (tls.ca, tls.cert, tls.key, tls.peer_ca, tls.peer_cert, tls.peer_key))
    return _DRAFTED if {str(PurePosixPath(path).parent) for path in paths} == {_DRAFTED} else ""
