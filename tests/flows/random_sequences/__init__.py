"""Random sequences of edits, commands and faults on fakes, judged by what must always hold."""
