"""etcdup brings highly available etcd clusters up on plain Linux hosts, and keeps them up.

General layout, each package importing only what stands to its right:

    cli (shows)  ->  ops (does)  ->  remote (reaches)  ->  core (decides; pure)

One path runs through them: cluster.yaml -> Spec; hosts -> Observed; plan(Spec, Observed) -> Plan;
apply(Plan) -> commands on Hosts, until the next plan is empty.
"""

__version__ = "0.1.0"
