"""All generated pages."""

from pathlib import Path

from tests.reference_pages.cluster_yaml import cluster_yaml_page
from tests.reference_pages.commands import commands_page
from tests.reference_pages.exit_codes import exit_codes_page
from tests.reference_pages.hosts import hosts_page
from tests.reference_pages.json_fields import json_page

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def pages() -> dict[str, str]:
    """Return every generated page by its file name."""
    return {
        "cluster-yaml.md": cluster_yaml_page(),
        "cli.md": commands_page(),
        "hosts.md": hosts_page(),
        "exit-codes.md": exit_codes_page(),
        "json.md": json_page(),
    }
