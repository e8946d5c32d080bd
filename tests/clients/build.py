"""`python -m tests.clients.build`: build kube-apiserver and the image with Patroni before the tests start."""

import sys

from tests.clients.patroni_image import patroni_image
from tests.lab import LabError, why_not
from tests.support.kube_apiserver_binary import NoKubeApiserver, kube_apiserver
from tests.support.private_apt import AptError


def main() -> None:
    if reason := why_not():
        print(f"the lab cannot run on this computer: {reason}", file=sys.stderr)
        return
    for name, build in {"Patroni": patroni_image, "kube-apiserver": kube_apiserver}.items():
        try:
            build()
        except (LabError, AptError, NoKubeApiserver) as error:
            print(f"{name} is not available: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
