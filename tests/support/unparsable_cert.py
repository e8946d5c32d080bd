"""A certificate that passes the checks of etcdup, and that etcd does not parse."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

UNPARSABLE_URI = "http://[bad"


def with_unparsable_uri(cert: bytes, ca_key: bytes) -> bytes:
    """Return the certificate again, with one more alternative name. Go parses each URI in a certificate."""
    old = x509.load_pem_x509_certificate(cert)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    for extension in old.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName([*value, x509.UniformResourceIdentifier(UNPARSABLE_URI)])
        builder = builder.add_extension(value, extension.critical)
    key = serialization.load_pem_private_key(ca_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
