"""How fast etcdup is beside a good shell script and a good playbook, in one run: `python -m tests.bench`."""
