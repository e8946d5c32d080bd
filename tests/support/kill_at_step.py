"""`python -m tests.support.kill_at_step KIND WORDS...`: etcdup WORDS, which dies of SIGKILL right after the first
line of its journal that tells of a step of this kind.

A test that reads the journal from outside kills a little later, on a busy machine much later: one step on.
"""

import os
import signal
import sys
from collections.abc import Mapping

from etcdup.cli.main import main
from etcdup.ops.world.journal import Journal


def die_at(kind: str) -> None:
    record = Journal.record

    def last_words(journal: Journal, event: str, facts: Mapping[str, object]) -> None:
        record(journal, event, facts)
        if facts.get("step") == kind:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Journal, "record", last_words)  # noqa: B010


if __name__ == "__main__":
    die_at(sys.argv.pop(1))
    main()
