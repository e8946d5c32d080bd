"""Run etcdup as `python -m etcdup`."""

from etcdup.cli.main import main

if __name__ == "__main__":
    main()
