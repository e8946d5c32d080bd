"""The installed command `etcdup`, and `python -m etcdup`."""

# `signal` imports more modules, and Ctrl-C during their import prints a traceback too.
import _signal  # type: ignore[import-not-found]
import os
import sys


def main() -> None:
    """Import etcdup and run it. Ctrl-C during the imports ends the process, without a traceback."""
    _signal.signal(_signal.SIGINT, _leave)
    import warnings

    # Libraries warn of code, and of certificates that a host sent. Neither is a message for operators.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from etcdup.cli.main import main as run

    run()


def _leave(_number: int, _frame: object) -> None:
    os.write(2, b"\ninterrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
