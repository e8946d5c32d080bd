"""Open the PKI that cluster.yaml describes. The cryptography library is imported here, on the first call."""

from pathlib import Path

from etcdup.core.spec.model import Spec
from etcdup.ops.pki.pki import AskPassphrase, Pki


def open_pki(spec: Spec, folder: Path, passphrase: AskPassphrase | None = None) -> Pki:
    """Return the PKI of this Spec. Nothing is read yet. Relative paths start at `folder`, that of cluster.yaml.

    `passphrase` is called only if the CA key is encrypted and neither $ETCDUP_CA_PASSPHRASE nor
    `tls.passphrase_command` gives a passphrase. A new CA key is encrypted if one of those two is set.
    """
    if spec.tls.mode == "provided":
        from etcdup.ops.pki.provided import Provided

        return Provided(spec, folder)
    from etcdup.ops.pki.managed import Managed

    return Managed(spec, folder, passphrase)
