"""The generated pages of docs/reference. `python -m tests.reference_pages` (`make docs`) writes them again.

The keys of cluster.yaml come from `core/spec/model.py`, the verbs from click's commands, the exit codes from
`errors.py`, and the JSON fields from the golden files of tests/cli and from the classes that `--json` prints.
"""
