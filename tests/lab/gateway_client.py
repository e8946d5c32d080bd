"""A client of the JSON gateway that keeps one connection, as Patroni: `python -m tests.lab.gateway_client PKI URL...`.

It writes one line for each request: the time, the endpoint, and `ok` or the error. Only if a request fails, it tries
the next endpoint. It reads its files for each new connection.
"""

import http.client
import json
import ssl
import sys
import time
from collections.abc import Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

PAUSE_S = 0.2
TIMEOUT_S = 3.0
# The key `a`, in base64.
REQUEST = json.dumps({"key": "YQ=="})


class Request(NamedTuple):
    """One request: its time in seconds, the endpoint, and whether it succeeded."""

    at: float
    endpoint: str
    ok: bool


def connect(pki: Path, endpoint: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    context.load_cert_chain(pki / "app.pem", pki / "app-key.pem")
    where = urlsplit(endpoint)
    return http.client.HTTPSConnection(where.hostname or "", where.port, timeout=TIMEOUT_S, context=context)


def main(pki: Path, endpoints: Sequence[str]) -> None:
    for endpoint in cycle(endpoints):
        connection = connect(pki, endpoint)
        try:
            while True:
                connection.request("POST", "/v3/kv/range", REQUEST)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise http.client.HTTPException(f"status {answer.status}")
                print(time.time(), endpoint, "ok", flush=True)
                time.sleep(PAUSE_S)
        except (OSError, http.client.HTTPException) as error:
            print(time.time(), endpoint, type(error).__name__, flush=True)
            time.sleep(PAUSE_S)


def read_requests(text: str) -> list[Request]:
    words = (line.split() for line in text.splitlines())
    return [Request(float(at), endpoint, how == "ok") for at, endpoint, how in words]


def longest_gap(requests: Sequence[Request]) -> float:
    """Return the longest time in seconds between two requests that succeeded."""
    served = [each.at for each in requests if each.ok]
    return max((after - before for before, after in pairwise(served)), default=0.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
