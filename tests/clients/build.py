"""`python -m tests.clients.build`: build kube-apiserver and the image with Patroni before the tests start."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.clients.patroni_image import patroni_image
from tests.lab import LabError, why_not
from tests.support.kubernetes_binaries import NoKubernetes, kubernetes_binary
from tests.support.private_apt import AptError


def main() -> None:
    if reason := why_not():
        print(f"the lab cannot run on this computer: {reason}", file=sys.stderr)
        return
    builds: dict[str, Callable[[], Path]] = {
        "Patroni": patroni_image,
        "kube-apiserver": partial(kubernetes_binary, "kube-apiserver"),
    }
    for name, build in builds.items():
        try:
            build()
        except (LabError, AptError, NoKubernetes) as error:
            print(f"{name} is not available: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
