"""etcdup deploys and operates highly available etcd clusters on Linux hosts over SSH, from one YAML file.

Each package imports only packages to its right:

    cli (command line)  ->  ops (operations)  ->  remote (SSH and etcd's API)  ->  core (decisions; pure)

All commands follow one path: load cluster.yaml into a Spec; observe the hosts into an Observed; compute
plan(Spec, Observed) -> Plan; run the commands of the Plan's steps on the hosts, until a new plan is empty.
"""

__version__ = "0.1.0"
