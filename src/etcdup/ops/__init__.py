"""Does: observes hosts, applies plans, holds the lock, writes the journal, keeps the PKI and the binaries."""
