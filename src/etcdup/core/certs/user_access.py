"""What the users of etcd (`auth`) mean for the certificates that etcdup issued: which client would be refused what."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from etcdup.core.certs.consumer_roles import KUBE_APISERVER, consumers, is_gateway_role, likely_role
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.spec.model import Spec

# The roles of users of etcd by name; None if there is no such user.
UserRoles = Mapping[str, tuple[str, ...] | None]
ROOT = "root"


@dataclass(frozen=True)
class AccessProblem:
    """A client that does not work as soon as users are enabled. All fields are sentences."""

    what: str
    why: str
    fix: str


def access_problems(spec: Spec, pki: PkiSeen, roles: UserRoles) -> tuple[AccessProblem, ...]:
    """Return the clients that do not work with users enabled, etcdup first. `roles` has the users that were read."""
    return (*etcdup_problems(spec, pki, roles), *gateway_problems(pki), *kubernetes_problems(pki, roles))


def users_to_read(spec: Spec, pki: PkiSeen) -> tuple[str, ...]:
    """Return the names of the users whose roles `access_problems` needs: etcdup and each kube-apiserver."""
    return tuple(filter(None, (_etcdup_user(spec, pki), *_kube_apiservers(pki).values())))


def _etcdup_user(spec: Spec, pki: PkiSeen) -> str:
    """Return the user of etcdup: that of `etcd.access`, otherwise the common name of its certificate."""
    if spec.etcd.access is not None:
        return spec.etcd.access.user
    admin = pki.certs.get("admin")
    return admin.common_name if admin else ""


def _kube_apiservers(pki: PkiSeen) -> dict[str, str]:
    """Return the common name of each consumer that is a kube-apiserver, by its name."""
    return {
        name: cert.common_name for name, cert in consumers(pki).items() if likely_role(name) == KUBE_APISERVER
    }


def etcdup_problems(spec: Spec, pki: PkiSeen, roles: UserRoles) -> Iterator[AccessProblem]:
    """Yield the problem if the user of etcdup has no role root. With users enabled, `Observed.denied` says so too."""
    name, logs_in = _etcdup_user(spec, pki), spec.etcd.access is not None
    if name in roles and ROOT not in (roles[name] or ()):
        what = "`etcd.access` has the user" if logs_in else "The client certificate of etcdup is for"
        fix = _grant_root(name, known=roles[name] is not None, has_password=logs_in)
        yield AccessProblem(
            f"{what} `{name}`, and this user has no role root.",
            "etcd refuses all changes of etcdup.",
            f"Run {fix}.",
        )


def gateway_problems(pki: PkiSeen) -> Iterator[AccessProblem]:
    """Yield the clients of the JSON gateway whose certificates have a common name."""
    for name, cert in consumers(pki).items():
        if cert.common_name and is_gateway_role(likely_role(name)):
            yield AccessProblem(
                f"The certificate of {name} has the common name `{cert.common_name}`.",
                "With the users of etcd enabled, etcd refuses each request of such a client at its JSON gateway, with "
                "a password too.",
                f"Run `etcdup certs issue {name} --role {likely_role(name)} --renew`, which issues a certificate "
                "without a common name. Copy it to the hosts, and set a user and a password in the configuration.",
            )


def kubernetes_problems(pki: PkiSeen, roles: UserRoles) -> Iterator[AccessProblem]:
    """Yield each kube-apiserver that cannot compact."""
    for name, user in _kube_apiservers(pki).items():
        if user in roles and ROOT not in (roles[user] or ()):
            yield AccessProblem(
                f"The user `{user}` of {name} has no role root.",
                "etcd permits a compaction only with this role. Without compactions the database grows until NOSPACE.",
                f"Run {_grant_root(user, known=roles[user] is not None)}.",
            )


def _grant_root(name: str, *, known: bool, has_password: bool = False) -> str:
    grant, more = f"`etcdup ctl -- user grant-role {name} root`", "" if has_password else " --no-password"
    return grant if known else f"`etcdup ctl -- user add {name}{more}` and {grant}"
