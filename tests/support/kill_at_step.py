"""`python -m tests.support.kill_at_step KIND WORDS...`: run `etcdup WORDS`, and kill it at a kind of step.

The process kills itself with SIGKILL after the first line of its journal with this kind of step. A test that reads
the journal from another process would kill it later, on a busy machine one step later.
"""

import os
import signal
import sys
from collections.abc import Mapping

from etcdup.cli.main import main
from etcdup.ops.world.journal import Journal


def kill_at(kind: str) -> None:
    record = Journal.record

    def record_and_kill(journal: Journal, event: str, facts: Mapping[str, object]) -> None:
        record(journal, event, facts)
        if facts.get("step") == kind:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Journal, "record", record_and_kill)  # noqa: B010


if __name__ == "__main__":
    kill_at(sys.argv.pop(1))
    main()
