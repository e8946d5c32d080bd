"""Clients of PostgreSQL, for the Python of the image: `python3 - FIRST SECOND SCOPE=PORT...`, until SIGTERM.

For each Patroni cluster a writer inserts five rows a second on the node that accepts writes, and a monitor of each node
reads whether it accepts writes. Records go to stdout: tests/clients/load.py reads them.
"""

import json
import signal
import sys
import threading
import time
from typing import Any

import psycopg2  # type: ignore[import-untyped]  # only the image has it

WRITE_EVERY_S = 0.2
MONITOR_EVERY_S = 0.2
TIMEOUTS = "-c statement_timeout=3000"
LAST_S = 90.0

stopping = threading.Event()
_output = threading.Lock()


def record(kind: str, scope: str, **fields: Any) -> None:
    with _output:
        print(json.dumps({"kind": kind, "scope": scope, **fields}), flush=True)


def connect(hosts: str, port: str, **more: str) -> Any:
    connection = psycopg2.connect(
        host=hosts, port=port, user="postgres", password="lab", dbname="postgres", connect_timeout=2,
        tcp_user_timeout=3000, options=TIMEOUTS, **more,
    )  # fmt: skip
    connection.autocommit = True
    return connection


class Writer:
    """Inserts each number once. A failed number is not tried again, because it may be stored."""

    def __init__(self, scope: str, hosts: str, port: str) -> None:
        self._scope = scope
        self._hosts = hosts
        self._port = port
        self._connection: Any = None

    def loop(self, first: int) -> None:
        number = first
        while not stopping.wait(WRITE_EVERY_S):
            number += 1
            begun, error = time.time(), ""
            try:
                self._execute("insert into acknowledged values (%s)", number)
            except psycopg2.Error as failure:
                self._connection = None
                error = f"{type(failure).__name__}: {str(failure).strip()}"
            record("write", self._scope, number=number, begun=begun, ended=time.time(), error=error)

    def _execute(self, statement: str, *values: object) -> Any:
        if self._connection is None:
            self._connection = connect(self._hosts, self._port, target_session_attrs="read-write")
        cursor = self._connection.cursor()
        cursor.execute(statement, values)
        return cursor

    def create_table(self) -> int:
        """Return the largest number so far."""
        self._execute("create table if not exists acknowledged (number bigint primary key)")
        return int(self._execute("select coalesce(max(number), 0) from acknowledged").fetchone()[0])

    def read_all(self) -> list[int]:
        deadline = time.monotonic() + LAST_S
        while True:
            try:
                rows = self._execute("select number from acknowledged").fetchall()
            except psycopg2.Error:
                self._connection = None
                if time.monotonic() > deadline:
                    return []
                time.sleep(1)
            else:
                return [row[0] for row in rows]


def monitor(scope: str, host: str, port: str) -> None:
    connection = None
    while not stopping.wait(MONITOR_EVERY_S):
        try:
            connection = connection or connect(host, port)
            cursor = connection.cursor()
            cursor.execute("select not pg_is_in_recovery()")
            primary = bool(cursor.fetchone()[0])
        except psycopg2.Error:
            connection, primary = None, False
        record("node", scope, host=host, primary=primary, at=time.time())


def main(first: str, second: str, *scopes: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    writers, threads = {}, []
    for scope, port in (each.split("=") for each in scopes):
        writers[scope] = Writer(scope, f"{first},{second}", port)
        number = writers[scope].create_table()
        threads.append(threading.Thread(target=writers[scope].loop, args=(number,)))
        threads += [threading.Thread(target=monitor, args=(scope, host, port)) for host in (first, second)]
    for thread in threads:
        thread.start()
    stopping.wait()
    for thread in threads:
        thread.join()
    for scope, writer in writers.items():
        record("end", scope, kept=writer.read_all())


main(*sys.argv[1:])
