"""docs/reference/exit-codes.md: the exit codes, and the error classes."""

from collections.abc import Iterator
from inspect import getdoc

from etcdup import errors
from tests.reference_pages.markdown import GENERATED, cell, table

_CODES: tuple[tuple[int, str, str], ...] = (
    (errors.EXIT_DONE, "Done, or nothing to do.", ""),
    (
        errors.EXIT_FAILED,
        "Failed. The message says what failed, on which host, and why. `check` also ends with 1 for a finding of level "
        "`wrong`, and `certs list` for a certificate that needs attention.",
        "Follow the line that begins with `hint:`.",
    ),
    (
        errors.EXIT_USAGE,
        "Wrong usage, or a wrong file: cluster.yaml, a certificate or a saved plan.",
        "Correct the command or the file.",
    ),
    (
        errors.EXIT_CHANGES,
        "Changes are pending: `plan --exit-code`, or `--json` without the confirmation option.",
        "Read the plan, then confirm it.",
    ),
    (
        errors.EXIT_REFUSED,
        "Refused by a guard. The refused step changed nothing.",
        "Read the reason and its hint. `etcdup explain N` explains rule N.",
    ),
    (
        errors.EXIT_PARTLY,
        "Partly applied: some steps are done, and one failed.",
        "Remove the cause, then run the same command again.",
    ),
    (errors.EXIT_INTERRUPTED, "Interrupted by Ctrl-C or SIGTERM.", "Run the same command again."),
)


def exit_codes_page() -> str:
    codes = [(str(code), meaning, then) for code, meaning, then in _CODES]
    kinds = [(f"`{kind.__name__}`", str(kind.exit_code), _first_sentence(kind)) for kind in _error_classes()]
    return "\n".join(
        [
            "# Exit codes\n",
            GENERATED,
            table(("code", "meaning", "what to do"), codes),
            "`etcdup ctl` ends with the exit code of etcdctl.\n",
            "## Errors\n",
            "Each class of `etcdup.errors` has one exit code.\n",
            table(("error", "code", "meaning"), kinds),
        ]
    )


def _error_classes() -> Iterator[type[errors.EtcdupError]]:
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, errors.EtcdupError):
            yield each


def _first_sentence(kind: type[object]) -> str:
    sentence = " ".join((getdoc(kind) or "").split("\n\n")[0].split()).partition(". ")[0]
    return cell(f"{sentence.rstrip('.')}.")
