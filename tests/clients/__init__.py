"""Real clients of etcd on the lab's machines, through each operation of etcdup: kube-apiserver, and two Patronis.

`make test-clients` runs them and prints a table with one row for each operation and client. It takes about 40 minutes.
"""
