"""A host together with what cluster.yaml says about it: the input of every requirement of a host."""

from dataclasses import dataclass

from etcdup.core.observed.host import HostSeen
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec


@dataclass(frozen=True)
class HostCase:
    """One reachable host of cluster.yaml."""

    spec: Spec
    host: HostSpec
    seen: HostSeen

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def layout(self) -> Layout:
        return layout_of(self.spec, self.host)
