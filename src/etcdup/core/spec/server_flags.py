"""The flags of etcd, by series.

etcd ignores the variable of a flag that it does not know, and only logs it. So a misspelt flag has no effect, and a
flag that a series renamed loses its effect in the upgrade. The lists are from the programs 3.4.23, 3.5.33, 3.6.16 and
3.7.3: each flag was passed to each of them.
"""

from difflib import get_close_matches

Series = tuple[int, int]

# The flags from a first to a last series.
_FLAGS: dict[tuple[Series, Series], str] = {
    ((3, 4), (3, 4)): """
        debug experimental-backend-bbolt-freelist-type log-package-levels
    """,
    ((3, 4), (3, 5)): """
        enable-v2 experimental-enable-v2v3 proxy proxy-dial-timeout proxy-failure-wait proxy-read-timeout
        proxy-refresh-interval proxy-write-timeout
    """,
    ((3, 4), (3, 6)): """
        discovery discovery-proxy experimental-compaction-batch-limit experimental-corrupt-check-time
        experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist
        experimental-initial-corrupt-check experimental-peer-skip-client-san-verification
        experimental-warning-apply-duration experimental-watch-progress-notify-interval
    """,
    ((3, 4), (3, 7)): """
        advertise-client-urls auth-token auth-token-ttl auto-compaction-mode auto-compaction-retention auto-tls
        backend-batch-interval backend-batch-limit bcrypt-cost cert-file cipher-suites client-cert-allowed-hostname
        client-cert-auth client-crl-file config-file cors data-dir discovery-fallback discovery-srv
        discovery-srv-name election-timeout enable-grpc-gateway enable-pprof force-new-cluster
        grpc-keepalive-interval grpc-keepalive-min-time grpc-keepalive-timeout heartbeat-interval host-whitelist
        initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token
        initial-election-tick-advance key-file listen-client-urls listen-metrics-urls listen-peer-urls log-level
        log-outputs logger max-concurrent-streams max-request-bytes max-snapshots max-txn-ops max-wals metrics name
        peer-auto-tls peer-cert-allowed-cn peer-cert-allowed-hostname peer-cert-file peer-client-cert-auth
        peer-crl-file peer-key-file peer-trusted-ca-file pre-vote quota-backend-bytes snapshot-count
        strict-reconfig-check trusted-ca-file unsafe-no-fsync version wal-dir
    """,
    ((3, 5), (3, 6)): """
        experimental-bootstrap-defrag-threshold-megabytes experimental-compact-hash-check-enabled
        experimental-compact-hash-check-time experimental-compaction-sleep-interval
        experimental-distributed-tracing-address experimental-distributed-tracing-instance-id
        experimental-distributed-tracing-sampling-rate experimental-distributed-tracing-service-name
        experimental-downgrade-check-time experimental-enable-distributed-tracing experimental-memory-mlock
        experimental-snapshot-catchup-entries experimental-stop-grpc-service-on-defrag
        experimental-txn-mode-write-with-shared-buffer
    """,
    ((3, 5), (3, 7)): """
        backend-bbolt-freelist-type client-cert-file client-key-file enable-log-rotation listen-client-http-urls
        log-rotation-config-json peer-client-cert-file peer-client-key-file raft-read-timeout raft-write-timeout
        self-signed-cert-validity socket-reuse-address socket-reuse-port tls-max-version tls-min-version
        v2-deprecation
    """,
    ((3, 6), (3, 6)): """
        experimental-warning-unary-request-duration
    """,
    ((3, 6), (3, 7)): """
        bootstrap-defrag-threshold-megabytes compact-hash-check-time compaction-batch-limit
        compaction-sleep-interval corrupt-check-time discovery-cacert discovery-cert discovery-dial-timeout
        discovery-endpoints discovery-insecure-skip-tls-verify discovery-insecure-transport discovery-keepalive-time
        discovery-keepalive-timeout discovery-key discovery-password discovery-request-timeout discovery-token
        discovery-user distributed-tracing-address distributed-tracing-instance-id distributed-tracing-sampling-rate
        distributed-tracing-service-name downgrade-check-time enable-distributed-tracing feature-gates log-format
        max-learners memory-mlock peer-skip-client-san-verification snapshot-catchup-entries warning-apply-duration
        warning-unary-request-duration watch-progress-notify-interval
    """,
}
_RENAMED = "experimental-"


def flags_of(series: Series) -> frozenset[str]:
    """Return the flags of a series; none if the series is unknown."""
    known = [text.split() for (first, last), text in _FLAGS.items() if first <= series <= last]
    return frozenset(flag for flags in known for flag in flags)


def unknown_flag_hint(flag: str, series: Series) -> str | None:
    """Return what to write in place of a flag that the series does not have. Return None if it has the flag."""
    flags = flags_of(series)
    if not flags or flag in flags:
        return None
    others = (flag.removeprefix(_RENAMED), _RENAMED + flag)
    near = [each for each in others if each in flags] or get_close_matches(flag, flags, n=1, cutoff=0.8)
    return f"write `{near[0]}`" if near else f"remove `{flag}`: etcd would ignore it"
