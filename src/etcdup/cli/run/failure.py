"""The text and the exit code of an error."""

import errno
import os
import shlex
import sys
import traceback

import click

from etcdup.cli.views.text import Paint, name_file, to_terminal
from etcdup.core.spec.visible import MESSAGE_LIMIT, one_line, visible
from etcdup.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, EtcdupError, RemoteError

REPORT_AT = "https://github.com/etcdup/etcdup/issues"
DEBUG_VARIABLE = "ETCDUP_DEBUG"


class Interrupted(EtcdupError):
    """Ctrl-C, SIGTERM or a declined question, after everything is closed. The message says what was done."""

    exit_code = EXIT_INTERRUPTED


def show_failure(error: BaseException, argv: list[str], file_option: str = "") -> int:
    """Print the error and its hint to stderr, and return the exit code. Its commands get `file_option`."""
    error = _first_own_error(error)
    if is_debugging():
        print(to_terminal("".join(traceback.format_exception(error))), file=sys.stderr)
    text, code = _text_and_exit_code(error, argv)
    if text:
        print(to_terminal(name_file(text, file_option)), file=sys.stderr)
    return code


def error_text(error: BaseException) -> str:
    """Return the message of an error, without its detail and its hint."""
    error = _first_own_error(error)
    return _with_host(error) if isinstance(error, EtcdupError) else _one_line(error)


def is_debugging() -> bool:
    """Return whether tracebacks are printed."""
    return bool(os.environ.get(DEBUG_VARIABLE))


def failure_text(message: str, detail: str, hint: str, paint: Paint) -> str:
    """Return `error: MESSAGE`, the indented detail, and after an empty line `hint: HINT`."""
    parts = [f"{paint('bold red', 'error:')} {one_line(message, MESSAGE_LIMIT)}"]
    parts += [f"  {line}" for line in visible(detail, MESSAGE_LIMIT).split("\n") if detail]
    hints = hint.splitlines()
    if hints:
        parts += ["", *(f"{paint('bold cyan', 'hint:')} {line}" for line in hints)]
    return "\n".join(parts)


def _text_and_exit_code(error: BaseException, argv: list[str]) -> tuple[str, int]:
    paint = Paint.for_stream(sys.stderr)
    match error:
        case Interrupted():
            return error.message, error.exit_code
        case EtcdupError():
            return failure_text(_with_host(error), error.detail, error.hint, paint), error.exit_code
        case click.ClickException():
            return failure_text(_click_message(error), "", _usage_hint(error), paint), EXIT_USAGE
        case click.Abort():  # click has ended the line
            return "interrupted", EXIT_INTERRUPTED
        case KeyboardInterrupt():
            return "\ninterrupted", EXIT_INTERRUPTED
        case OSError() if error.errno == errno.EPIPE:
            return "", EXIT_FAILED
        case OSError() if error.filename:
            return failure_text(f"{error.filename}: {error.strerror}", "", "", paint), EXIT_FAILED
    return failure_text(_one_line(error), "", _report_hint(argv), paint), EXIT_FAILED


def _with_host(error: EtcdupError) -> str:
    """Return the message, which names the host of a command or a write that failed."""
    if isinstance(error, RemoteError) and error.host not in error.message:
        return f"{error.host}: {error.message}"
    return error.message


def _first_own_error(error: BaseException) -> BaseException:
    """Return the first etcdup error of a group. An error that is not a group is returned as it is."""
    while isinstance(error, BaseExceptionGroup):
        ours = [each for each in error.exceptions if isinstance(each, EtcdupError | BaseExceptionGroup)]
        error = (ours or list(error.exceptions))[0]
    return error


def _click_message(error: click.ClickException) -> str:
    text = error.format_message().rstrip(".")
    return text[:1].lower() + text[1:]


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"run `{context.command_path if context else 'etcdup'} --help` for the usage"


def _one_line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _report_hint(argv: list[str]) -> str:
    again = shlex.join(["etcdup", *argv])
    return (
        f"this is a bug in etcdup; please report it at {REPORT_AT}\n"
        f"run `{DEBUG_VARIABLE}=1 {again}` to get a traceback"
    )
