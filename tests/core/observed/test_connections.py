"""The clients of members, from the sockets of the hosts and the programs that have them."""

import os
import socket
import subprocess
from pathlib import Path

from etcdup.core.observed.connections import Client, clients_of_members, connections_argv, parse_connections
from tests.support.fake_world import spec_of

HOSTS = {host.name: host for host in spec_of().hosts}
PORTS = dict.fromkeys(HOSTS, frozenset({2379}))

# infra1: etcd (pid 900) listens, and connects to itself (16). sshd of this session (pid 40) forwards etcdup (20).
# Patroni (pid 812) on infra1 is connected to its own member (22), and to the one on infra2 (24).
INFRA1 = """\
@ours
41
40
@sockets
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 4208A8C0:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 10 1 0
   1: 4208A8C0:094B 0108A8C0:E5C2 01 00000000:00000000 00:00000000 00000000   998        0 11 1 0
   2: 4208A8C0:094B 4208A8C0:B1A0 01 00000000:00000000 00:00000000 00000000   998        0 15 1 0
   3: 4208A8C0:B1A0 4208A8C0:094B 01 00000000:00000000 00:00000000 00000000   998        0 16 1 0
   4: 4208A8C0:094B 4208A8C0:B1A1 01 00000000:00000000 00:00000000 00000000   998        0 19 1 0
   5: 4208A8C0:B1A1 4208A8C0:094B 01 00000000:00000000 00:00000000 00000000     0        0 20 1 0
   6: 4208A8C0:094B 4208A8C0:B1A2 01 00000000:00000000 00:00000000 00000000   998        0 21 1 0
   7: 4208A8C0:B1A2 4208A8C0:094B 01 00000000:00000000 00:00000000 00000000   110        0 22 1 0
   8: 4208A8C0:B1A3 4308A8C0:094B 01 00000000:00000000 00:00000000 00000000   110        0 24 1 0
   9: 4208A8C0:0016 0208A8C0:B1AF 01 00000000:00000000 00:00000000 00000000     0        0 26 1 0
  10: 4208A8C0:094B 0908A8C0:B1AF 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
@owners
10 900 etcd
16 900 etcd
20 40 sshd
22 812 patroni
24 812 patroni
"""
# infra2: Patroni from infra1, a connection from infra1 without a known program, another port, and one over IPv6.
INFRA2 = """\
@ours
50
@sockets
   0: 4308A8C0:094B 4208A8C0:B1A3 01 00000000:00000000 00:00000000 00000000   998        0 30 1 0
   1: 4308A8C0:094B 4208A8C0:FFFF 01 00000000:00000000 00:00000000 00000000   998        0 31 1 0
   2: 4308A8C0:094C 4208A8C0:B1A9 01 00000000:00000000 00:00000000 00000000   998        0 32 1 0
   0: 0000000000000000FFFF00004308A8C0:094B 0000000000000000FFFF00000708A8C0:C001 01 0:0 0:0 0 998 0 33 1 0
@owners
"""


def test_etcd_and_etcdup_are_recognised_by_their_process_and_port() -> None:
    """A program on a host of the cluster is a client too, whichever member it is connected to."""
    seen = {"infra1": parse_connections(INFRA1), "infra2": parse_connections(INFRA2)}
    patroni = Client("192.168.8.66", "patroni", 812)
    assert clients_of_members(HOSTS, PORTS, seen) == {
        "infra1": (Client("192.168.8.1"), patroni),
        "infra2": (Client("192.168.8.66"), patroni, Client("192.168.8.7")),
    }


def test_a_connection_from_a_host_that_was_not_read_has_no_program() -> None:
    found = clients_of_members(HOSTS, PORTS, {"infra2": parse_connections(INFRA2)})
    assert found["infra2"] == (Client("192.168.8.66"), Client("192.168.8.7"))


def test_a_local_member_has_only_its_own_connections() -> None:
    """All local members share the tables of one machine. They differ in their addresses."""
    local = {name: host.model_copy(update={"root": f"/x/{name}"}) for name, host in HOSTS.items()}
    both = parse_connections(INFRA1 + INFRA2)
    assert Client("192.168.8.7") not in clients_of_members(local, PORTS, {"infra1": both})["infra1"]


def test_hostile_output_gives_no_client() -> None:
    text = "@sockets\n 0: zz:094B 1:2 01 0 0 0 0 0 1\n 1: 4208A8C0:xx\n@owners\n1 -2 x\nx y\n@ours\nroot\n"
    text += "\u00b2\n" + "1" * 5000 + "\n"  # `int` accepts neither, although `isdigit` does.
    assert clients_of_members(HOSTS, PORTS, {"infra1": parse_connections(text)}) == {"infra1": ()}
    assert parse_connections("a login banner\n") == parse_connections("")


def test_the_name_of_a_program_is_not_read_as_a_section() -> None:
    """A program can set its own name to any 15 bytes."""
    assert parse_connections("@owners\n10 900 x\x1c@ours\x1c987\n").ours == frozenset()
    own_name = Path("/proc/self/comm")
    before = own_name.read_text()
    try:
        for name in ("x\n@ours\n987654", r"x\n@ours\n98765"):
            own_name.write_text(name)
            with socket.create_server(("127.0.0.1", 0)) as server:
                argv = connections_argv([server.getsockname()[1]])
                done = subprocess.run(argv, capture_output=True, text=True, check=True)
                seen = parse_connections(done.stdout)
            assert (os.getpid(), name.partition("\n")[0]) in seen.owners.values()
            assert not seen.ours & {987654, 98765}
    finally:
        own_name.write_text(before)


def test_the_script_finds_this_process() -> None:
    """This process is an ancestor of the script, it listens on the port, and it is connected to the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            done = subprocess.run(connections_argv([port]), capture_output=True, text=True, check=True)
            seen = parse_connections(done.stdout)
            assert os.getpid() in seen.ours
            assert os.getpid() in seen.servers(frozenset({port}))
            own = next(each for each in seen.sockets if each.local == client.getsockname())
            assert seen.owners[own.inode][0] == os.getpid()
