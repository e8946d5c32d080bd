"""`python -m tests.support.kill_at_step KIND WORDS...`: run `etcdup WORDS`, and kill it at a kind of step.

With STEP_SIGNAL=STOP in its environment, the process stops there until it gets SIGCONT, as on a suspended laptop.

The process kills itself after the first line of its journal with this kind of step. A test that reads
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
    left = [signal.Signals[f"SIG{os.environ.get('STEP_SIGNAL', 'KILL')}"]]

    def record_and_kill(journal: Journal, event: str, facts: Mapping[str, object]) -> None:
        record(journal, event, facts)
        if facts.get("step") == kind and left:
            os.kill(os.getpid(), left.pop())

    setattr(Journal, "record", record_and_kill)  # noqa: B010


if __name__ == "__main__":
    kill_at(sys.argv.pop(1))
    main()
