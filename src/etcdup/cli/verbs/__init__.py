"""The verbs with their options and help, and nothing else: each imports what it does when it runs."""
