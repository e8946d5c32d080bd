"""The bench's one error."""


class CannotRun(Exception):
    """There is no measurement: what is missing, or which contender failed and what it said."""
