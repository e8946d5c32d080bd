"""Random sequences of edits, verbs and faults on real machines, with clients that are evaluated at the end."""
