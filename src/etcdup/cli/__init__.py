"""Shows: one file a group of verbs. Data goes to stdout, talk to stderr."""
