"""The words of a failed login as a user of etcd. `Observed.denied` has them, and `limits.py` says what helps."""

# etcdup has no password: the command of `etcd.access` failed. The rest of the text says why.
NO_PASSWORD = "there is no password: "  # noqa: S105
# etcd says so for a wrong password, and for a user that does not exist or has no password.
NOT_ACCEPTED = "authentication failed"
# etcd does not accept the token of a login any more, and a new login helps: the token expired, the member restarted, or
# users and roles have changed since. 3.4 has the last text.
_OLD_TOKEN = ("invalid auth token", "revision of auth store is old", "revision in header is old")


def needs_new_token(refusal: str) -> bool:
    """Return whether etcd refuses a request only because of its token."""
    return any(text in refusal for text in _OLD_TOKEN)
