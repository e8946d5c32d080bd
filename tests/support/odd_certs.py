"""Certificates that operators have: which of them etcd and etcdup's client can use."""

from dataclasses import dataclass
from pathlib import Path

from tests.support.openssl import Ca, openssl

RSA = ("RSA", "rsa_keygen_bits:2048")
P256 = ("EC", "ec_paramgen_curve:P-256")


@dataclass(frozen=True)
class OddCert:
    """A certificate that is made by openssl. `fault` is a part of the fault; empty if the certificate is usable."""

    key: tuple[str, ...] = P256
    extension: str = ""
    digest: str = "sha256"
    fault: str = ""

    def write(self, ca: Ca, cert: Path, key: Path, address: str) -> None:
        algorithm, *options = self.key
        chosen = [word for option in options for word in ("-pkeyopt", option)]
        openssl("genpkey", "-algorithm", algorithm, *chosen, "-out", key)
        key.chmod(0o600)
        request = openssl("req", "-new", "-key", key, "-subj", "/CN=kubernetes", "-config", "/dev/null")
        extensions = cert.with_suffix(".ext")
        usages = "extendedKeyUsage=serverAuth,clientAuth\n"
        extensions.write_text(f"subjectAltName=IP:{address}\n{usages}{self.extension}\n")
        signed = openssl(
            "x509", "-req", "-CA", ca.cert, "-CAkey", ca.key, "-set_serial", "77", "-days", "60",
            f"-{self.digest}", "-extfile", extensions, stdin=request.encode(),
        )  # fmt: skip
        cert.write_text(signed)


ODD_CERTS = {
    "RSA": OddCert(RSA),
    "P-256": OddCert(P256),
    "P-384": OddCert(("EC", "ec_paramgen_curve:P-384")),
    "key usage of TLS": OddCert(extension="keyUsage=critical,digitalSignature"),
    "SHA-512": OddCert(digest="sha512"),
    "unknown extension": OddCert(extension="1.2.3.4=ASN1:NULL"),
    "P-521": OddCert(("EC", "ec_paramgen_curve:P-521"), fault="P-521"),
    "P-224": OddCert(("EC", "ec_paramgen_curve:P-224"), fault="P-224"),
    "secp256k1": OddCert(("EC", "ec_paramgen_curve:secp256k1"), fault="secp256k1"),
    "explicit parameters": OddCert((*P256, "ec_param_enc:explicit"), fault="explicit"),
    "Ed25519": OddCert(("ED25519",), fault="Ed25519"),
    "RSA-PSS": OddCert(("RSA-PSS", "rsa_keygen_bits:2048"), fault="RSA-PSS"),
    "key usage of openssl's recipe": OddCert(
        RSA, "keyUsage=keyEncipherment,dataEncipherment", fault="digitalSignature"
    ),
    "the same with an EC key": OddCert(extension="keyUsage=keyAgreement", fault="digitalSignature"),
    "unknown critical extension": OddCert(extension="1.2.3.4=critical,ASN1:NULL", fault="1.2.3.4"),
    "SHA-1": OddCert(digest="sha1", fault="SHA1"),
}
