"""Issue the certificates of a cluster again and again, and kill the run at each change to the disk in turn.

`python -m tests.ops.pki.kill_at_disk_change FOLDER SPEC NOW [STAGE]`: run number n works in FOLDER/n and exits just
before its nth change. The first run that completes is the last; its number is printed. With a stage, the run rotates
the CA instead, renews the certificate of the consumer `app`, or unpacks an archive of FOLDER/pki. It is a separate
program, because it forks.
"""

import os
import sys
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from etcdup.core.certs.required import desired_certs
from etcdup.core.spec.model import Spec
from etcdup.ops.pki.archive import pack_pki, read_pki_archive, unpack_pki
from etcdup.ops.pki.open import open_pki

KILL_EXIT_CODE = 9
CHANGES = ("mkdir", "chmod", "link", "replace", "unlink", "fsync", "fchmod")


def die_before_change(number: int) -> None:
    """Count each call of an `os` function that changes the disk, and exit before the call with this number."""
    counter = count(1)

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(counter) == number:
                os._exit(KILL_EXIT_CODE)
            return function(*args, **kwargs)

        return call

    for name in CHANGES:
        setattr(os, name, deadly(getattr(os, name)))


def main(folder: Path, spec: Spec, now: datetime, stage: str = "") -> None:
    open_pki(spec, folder)  # This imports all modules before the fork.
    files = read_pki_archive(pack_pki(folder / "pki")) if stage == "unpack" else {}
    for number in count(1):
        child = os.fork()
        if child == 0:
            die_before_change(number)
            pki = open_pki(spec, folder / str(number))
            if stage == "unpack":
                unpack_pki(files, folder / str(number) / "pki")
            elif stage == "consumer":
                pki.issue_consumer("app", now, renew=True)
            elif stage == "lost-key":
                pki.accept_lost_key()
                pki.rotate_ca("trust", now)
            elif stage:
                pki.rotate_ca(stage, now)
            else:
                pki.issue([each.role for each in desired_certs(spec)], now)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            print(number)
            return
        assert os.waitstatus_to_exitcode(status) == KILL_EXIT_CODE


if __name__ == "__main__":
    moment = datetime.fromisoformat(sys.argv[3])
    main(Path(sys.argv[1]), Spec.model_validate_json(sys.argv[2]), moment, *sys.argv[4:])
