"""Reaches: the one door to a machine (Host) and the client of etcd's own API."""
