"""`etcdup validate` and `etcdup schema`."""

from pathlib import Path
from typing import Any

from etcdup.cli.apply.warnings import check_tls_files
from etcdup.cli.run.session import Session
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.core.spec.model import Spec
from etcdup.core.spec.schema import cluster_schema
from etcdup.core.spec.warnings import warnings
from etcdup.core.versions.advisories import refuse_version
from etcdup.errors import EXIT_DONE, EXIT_USAGE, BadFile, UsageError


def validate_file(file: Path, *, as_json: bool) -> int:
    """Check cluster.yaml and the certificates that it names, without a connection to a host."""
    terminal = Terminal()
    try:
        session = Session.begin(file, terminal)
        check_tls_files(session)
    except UsageError as error:
        if not as_json:
            raise
        terminal.print_data(json_text(_invalid_json(file, error)))
        return EXIT_USAGE
    spec, found = session.spec, _warnings(session.spec)
    if as_json:
        terminal.print_data(json_text(_valid_json(file, spec, found)))
        return EXIT_DONE
    for warning in found:
        terminal.warn(warning)
    hosts = count_text(spec.size, "host")
    terminal.print_data(f"{file} is valid: cluster {spec.name}, {hosts}, etcd {spec.version}\n")
    return EXIT_DONE


def print_schema() -> int:
    """Print the JSON schema of cluster.yaml."""
    Terminal().print_data(json_text(cluster_schema()))
    return EXIT_DONE


def _warnings(spec: Spec) -> tuple[str, ...]:
    # Only the hosts show whether the version is from a distribution, which etcdup accepts. So this is a warning here.
    return (*warnings(spec), *(reason.message for reason in refuse_version(spec, vouched=False)))


def _valid_json(file: Path, spec: Spec, found: tuple[str, ...]) -> dict[str, Any]:
    return {
        "file": str(file),
        "valid": True,
        "cluster": spec.name,
        "version": str(spec.version),
        "hosts": [host.name for host in spec.hosts],
        "warnings": list(found),
        "problems": [],
    }


def _invalid_json(file: Path, error: UsageError) -> dict[str, Any]:
    problems = [vars(problem) for problem in error.problems] if isinstance(error, BadFile) else []
    whole = {"line": 0, "column": 0, "message": error.message, "hint": error.hint}
    return {
        "file": str(file),
        "valid": False,
        "cluster": None,
        "version": None,
        "hosts": [],
        "warnings": [],
        "problems": problems or [whole],
    }
