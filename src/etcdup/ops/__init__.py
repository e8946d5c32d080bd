"""The operations: observe hosts, apply plans, hold the lock, write the journal, keep the PKI and the binaries."""
