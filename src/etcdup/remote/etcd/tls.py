"""Which certificates a TLS handshake of Python's own ssl module trusts."""

import ssl


def context_for_ca(ca: bytes) -> ssl.SSLContext:
    """Return a client context that trusts this CA file alone. Raises OSError.

    Each certificate in the file is trusted, an intermediate certificate too, as etcd and gRPC do. The stricter checks
    of a CA certificate that Python 3.13 makes by default are left out: etcd and gRPC do not make them either.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # A CA file may contain comments between the certificates, and Python accepts ASCII only.
    if authorities := ca.decode("ascii", "ignore"):
        context.load_verify_locations(cadata=authorities)
    return context
