"""The installed command `etcdup`, and `python -m etcdup`."""

# `signal` imports more modules, and Ctrl-C during their import prints a traceback too.
import _signal  # type: ignore[import-not-found]
import os


def main() -> None:
    """Import etcdup and run it. Ctrl-C during the imports ends the process, without a traceback."""
    _signal.signal(_signal.SIGINT, _leave)
    from etcdup.cli.main import main as run

    run()


def _leave(_number: int, _frame: object) -> None:
    os.write(2, b"\ninterrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
