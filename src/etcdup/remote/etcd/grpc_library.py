"""grpc and the generated code, imported without gRPC's own log lines on stderr.

gRPC reads GRPC_VERBOSITY while it is imported, so the variable is set first. An operator can still set it to see the
lines. This is the one module that imports grpc; it takes 90 ms, so other modules import it only when they need it.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc as grpc
import grpc.aio

from etcdup.remote.etcd.pb import rpc_pb2 as pb
from etcdup.remote.etcd.pb import rpc_pb2_grpc as services

__all__ = ["grpc", "pb", "services"]
