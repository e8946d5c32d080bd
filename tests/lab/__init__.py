"""Real Debian machines on this computer: `with Lab(machines=3) as lab:`. Needs root; see `why_not`."""

from tests.lab.base_image import OPER_PASSWORD, USERS
from tests.lab.http_server import HttpServer
from tests.lab.lab import Lab, why_not
from tests.lab.machine import Machine
from tests.lab.shell import LabError

__all__ = ["OPER_PASSWORD", "USERS", "HttpServer", "Lab", "LabError", "Machine", "why_not"]
