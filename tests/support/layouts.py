"""Layouts of members whose directories are below a directory of a test."""

from pathlib import Path

from etcdup.core.spec.layout import Layout


def local_layout(root: Path) -> Layout:
    """Return the layout of a local member below this directory."""
    return Layout(
        "process",
        etc=f"{root}/etc/etcd",
        unit=f"{root}/etc/start-etcd",
        versions=f"{root}/opt/etcd",
        run=f"{root}/run/etcdup",
        data_dir=f"{root}/var/lib/etcd",
        wal_dir=None,
        links=None,
    )
