"""The verbs with their options and help texts. Each verb imports its own module when it runs."""
