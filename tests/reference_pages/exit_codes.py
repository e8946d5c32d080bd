"""docs/reference/exit-codes.md: the exit codes, and the error classes."""

from collections.abc import Iterator
from inspect import getdoc

from etcdup import errors
from tests.reference_pages.markdown import GENERATED, cell, table

_CODES: tuple[tuple[int, str, str], ...] = (
    (errors.EXIT_DONE, "Done, or nothing to do.", ""),
    (
        errors.EXIT_FAILED,
        "Failed. The message says what failed, on which host, and why. `health`, `check`, `status --exit-code`, "
        "`certs list`, `backup list`, `backup verify` and `maintain verify` also end with 1 for what they find. "
        "`backup now` ends with 1 if one of several destinations failed, `logs`, `trust`, `archive list` and "
        "`plan --exit-code` if a host does not answer, and `certs revoke` if a host was not reached.",
        "Follow the line that begins with `hint:`.",
    ),
    (
        errors.EXIT_USAGE,
        "Wrong usage, or a wrong file: cluster.yaml, a certificate or a saved plan. A confirmation is required, and no "
        "terminal can ask for it.",
        "Correct the command or the file. To confirm without a terminal, pass the option that the hint names.",
    ),
    (
        errors.EXIT_CHANGES,
        "Changes are pending: `plan --exit-code`. With `--json` and without their confirmation option, `apply`, "
        "`restart`, `restore`, `recover` and `trust` also end with 3, and change nothing.",
        "Read the plan, then run the command with its confirmation option.",
    ),
    (
        errors.EXIT_REFUSED,
        "Refused before the first change: by a guard, because another etcdup holds the lock, or because "
        "`--consumers-have` must be confirmed first.",
        "Read the reason and its hint. `etcdup explain N` explains rule N.",
    ),
    (
        errors.EXIT_PARTLY,
        "Partly applied: the run stopped after some steps were done. A step failed, a guard refused the next one, the "
        "lock was lost, or you answered no before the last member of a minor version. An `apply` that needs "
        "`--consumers-have endpoints` ends with 5 if it changed something before that, otherwise with 4. "
        "`restore-keys` and `adopt --release` end with 5 if a part is left.",
        "Follow the hint. After you removed the cause, the same command continues.",
    ),
    (
        errors.EXIT_INTERRUPTED,
        "Ctrl-C or SIGTERM, or you did not confirm a question. The message says how many steps are done.",
        "Run the same command again.",
    ),
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
