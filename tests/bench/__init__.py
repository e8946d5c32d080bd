"""How fast etcdup is, compared with a shell script and an Ansible playbook in one run: `python -m tests.bench`."""
