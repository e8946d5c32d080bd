"""Rules for TLS: certificates, keys, CAs and the clients that use them."""

from etcdup.core.rules.model import CHANGES, CIS, CODE, DOCS, ISSUE, TESTED, Rule

CERTIFICATES = (
    Rule(
        12,
        "A new certificate and key need no restart",
        "etcd reads the certificate and the key of its client port and its peer port for each new handshake. "
        "Replace both files by rename. No restart and no signal is necessary.",
        "A renewal must not interrupt clients.",
        f"{DOCS}op-guide/security/; {TESTED} 3.3.25, 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        13,
        "Never send SIGHUP to etcd",
        "SIGHUP ends the etcd process. Do not use this signal in `ExecReload`.",
        "etcd has no reload on a signal, so the member stops.",
        f"{TESTED} 3.3.25, 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        14,
        "A new CA file needs a restart of each member",
        "etcd reads `trusted-ca-file` and `peer-trusted-ca-file` only when it starts. "
        "After a change of a CA file, restart each member, one after the other.",
        "Until its restart, a member rejects certificates of the new CA.",
        f"{ISSUE}11555; {CODE}client/pkg/transport/listener.go; {TESTED} 3.3.25, 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        15,
        "Replace a CA in three phases",
        "First, let all members and all clients trust both CAs, and restart the members one by one. "
        "Second, issue all certificates from the new CA. "
        "Third, let the members trust the new CA only, and restart them one by one.",
        "While both CAs are trusted, certificates of either CA work. "
        "Before each phase, check every peer link and every client; late ones are rejected in the next phase.",
        f"{ISSUE}11555; {TESTED} both CAs in one file",
    ),
    Rule(
        16,
        "Write a certificate and its key as a matching pair",
        "Check that the key belongs to the certificate before you write either file. "
        "Write both to temporary files, rename the key, and rename the certificate directly after it. "
        "Keep the previous pair.",
        "With a pair that does not match, each new handshake fails. "
        "Open connections continue, so a health check does not show the fault.",
        f"{TESTED} a damaged and a mismatched pair",
    ),
    Rule(
        17,
        "Check a certificate with a new handshake",
        "After a change, open a new TLS connection and read the certificate that the port serves. "
        "Start no rolling restart if a certificate is expired or expires meanwhile. "
        "Send an alert 30 days and 7 days before a certificate expires.",
        "Open connections outlive an expired certificate, so the cluster seems healthy. "
        "At the next restart, the members cannot connect to each other.",
        f"{TESTED} an expired peer certificate, 3.3.25 and 3.4.23",
    ),
    Rule(
        18,
        "A peer certificate contains the source address of its member",
        "Put each IP address from which a member connects to its peers into its peer certificate. "
        "`ip route get PEER` shows the source address. "
        "Do not switch this check off with `peer-skip-client-san-verification`.",
        "A peer compares the certificate with the source address of the connection. "
        "If the address is missing, the peer rejects the connection, and the cluster can have no quorum.",
        f"{DOCS}op-guide/security/; {TESTED} a member with another source address",
    ),
    Rule(
        19,
        "Server and peer certificates need both key usages",
        "Server certificates and peer certificates need serverAuth and clientAuth. "
        "Client certificates need clientAuth. Check each link between two members in both directions.",
        "A member is also a client: of its peers, and of itself for the JSON gateway. "
        "If one usage is missing, half of the links fail, and the health endpoint does not show it.",
        f"{TESTED} 3.3.25, 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        20,
        "Keep clients and peers apart",
        "Use one CA for clients and another CA for peers, or set `peer-cert-allowed-cn` or "
        "`peer-cert-allowed-hostname`. Use these CAs for this cluster only.",
        "With a certificate of the client CA, a client can read and write all keys. "
        "With a certificate of the peer CA, a program can send raft messages.",
        f"{CIS}; {DOCS}op-guide/security/",
    ),
    Rule(
        21,
        "Require certificates from clients and from peers",
        "Set `client-cert-auth` and `peer-client-cert-auth` to true. Never use `auto-tls` or `peer-auto-tls`.",
        "Otherwise each program that reaches the port has access. "
        "A certificate that etcd makes for itself cannot be verified.",
        CIS,
    ),
    Rule(
        22,
        "Changing peers to https changes the member list",
        "Run `etcdctl member update --peer-urls` for one member, and then restart that member. "
        "Repeat this for each member. For client URLs, a restart with new `advertise-client-urls` is enough.",
        "The member list contains the peer URLs, and the other members use that list.",
        f"{DOCS}op-guide/security/",
    ),
    Rule(
        23,
        "Do not change the peer URL of a learner on an old release",
        "Do not run `etcdctl member update` for a learner before 3.5.31 (series 3.5) or 3.6.12 (series 3.6).",
        "These releases promote the learner to a voter without a check.",
        f"{CHANGES}3.5.md; {CHANGES}3.6.md",
    ),
    Rule(
        24,
        "Use TLS 1.2 or newer and strict file modes",
        "`tls-min-version` exists from 3.4.25 and 3.5.8 on; set it to TLS 1.2 or newer. "
        "Keys belong to the user etcd and have mode 0600. The data directory has mode 0700.",
        "A user who can read a key can act as the member. A user who can read the database has all data.",
        f"{CHANGES}3.4.md; {CHANGES}3.5.md; https://nvd.nist.gov/vuln/detail/CVE-2020-15113",
    ),
    Rule(
        110,
        "Use a certificate revocation list from the first start",
        "Set `client-crl-file` and `peer-crl-file` from the first start, with an empty list. "
        "etcd reads the list for each new connection: a revocation needs no restart, so revoke the certificates of "
        "each member that leaves. "
        "Use DER: every version reads it, and from 3.6 on etcd reads nothing else.",
        "A restart is needed to switch the option on later. "
        "A PEM list rejects every client from 3.6 on, and open connections continue after a revocation.",
        f"{DOCS}op-guide/configuration/; {TESTED} 3.4.23, 3.5.33, 3.6.14, 3.6.16, 3.7.1, 3.7.3",
    ),
    Rule(
        113,
        "An open connection does not prove that a client is ready",
        "A client can keep one connection for weeks. "
        "Check each client on a member that has only the new CA, or only the new endpoints.",
        "An open connection does not show whether the client accepts the new CA or has the new endpoints. "
        "Patroni is such a client.",
        f"{TESTED} Patroni during a change of the CA",
    ),
    Rule(
        114,
        "Gateway clients need a certificate without a common name",
        "If the users of etcd are enabled, give clients of the JSON gateway a certificate without a common name. "
        "They also need a user name and a password. Patroni is such a client.",
        "While users are enabled, etcd rejects gateway requests whose client certificate has a common name.",
        f"{ISSUE}15945; {TESTED} Patroni with etcd users",
    ),
    Rule(
        116,
        "Give a new certificate file to one member first",
        "Write a new certificate, key or CA file to one member. "
        "Continue with the second member only after the first one has served a new handshake with it.",
        "etcd reads certificate and key again for each handshake. "
        "A bad file therefore stops all new connections of the member at once.",
        f"{TESTED} a byte-order mark before the PEM block",
    ),
)
