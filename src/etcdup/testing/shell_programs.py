"""Which programs a command runs: the first words of all commands in its shell scripts.

FakeMachine uses it, so a script that runs a program which core/host/programs.py does not have fails a flow.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from etcdup.core.host.programs import PROGRAMS

BUILTINS = frozenset((
    ".", ":", "[", "alias", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit", "export",
    "false", "hash", "kill", "local", "printf", "pwd", "read", "readonly", "return", "set", "shift", "test",
    "times", "trap", "true", "type", "ulimit", "umask", "unset", "wait",
))  # fmt: skip
# coreutils, and what POSIX requires.
BASE = frozenset((
    "awk", "base64", "basename", "cat", "chgrp", "chmod", "chown", "cp", "cut", "date", "dd", "df", "dirname",
    "du", "env", "expr", "head", "id", "ln", "ls", "mkdir", "mktemp", "mv", "nohup", "od", "ps",
    "readlink", "rm", "rmdir", "sed", "seq", "sh", "sleep", "sort", "stat", "sync", "tail", "tee",
    "timeout", "touch", "tr", "truncate", "uname", "uniq", "wc",
))  # fmt: skip
SYSTEMD = frozenset(("systemctl", "systemd-run", "journalctl", "systemd-analyze", "timedatectl"))
# `check` reports the first four if they are missing, the demo runs on this machine only, and hosts with ext4 have
# dumpe2fs.
OPTIONAL = frozenset(("bash", "ping", "ip", "chronyc", "setsid", "dumpe2fs"))
KNOWN = BUILTINS | BASE | SYSTEMD | OPTIONAL | {program.name for program in PROGRAMS}

_KEYWORDS = frozenset(("if", "then", "else", "elif", "do", "while", "until", "!", "{"))
_ENDS = frozenset(("fi", "done", "}", "esac"))
_WRAPPERS = frozenset(("exec", "command", "env", "timeout", "nohup", "setsid"))
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_NAME = re.compile(r"[a-z][\w.-]*")


def programs_of(argv: Sequence[str]) -> frozenset[str]:
    """Return the programs that a command runs, without those that have a path."""
    found: set[str] = set()
    words = [*argv]
    while words:
        name = words.pop(0)
        found.add(name)
        if name == "env":
            words = [word for word in words if word != "-i" and not _ASSIGNMENT.match(word)]
        elif name == "timeout":
            words = words[1:]
        else:
            break
    for before, word in pairwise(argv):
        if "\n" in word or before == "-c":
            found |= programs_in(word)
    return frozenset(name for name in found if name and "/" not in name)


@lru_cache
def programs_in(script: str) -> frozenset[str]:
    """Return the programs that a script runs, without builtins and the functions that it defines."""
    reader = _Reader(script)
    reader.read()
    return frozenset(reader.found - reader.functions - BUILTINS)


class _Reader:
    """Reads a script of the subset of sh that etcdup uses."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.found: set[str] = set()
        self.functions: set[str] = set()

    def read(self, end: str = "") -> None:
        """Read commands until the unquoted character `end`."""
        first, wrapper, pattern = True, "", False
        last = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == end and not pattern:
                self.at += 1
                return
            if char in " \t":
                self.at += 1
            elif char == "#":
                self._skip_line()
            elif self.text.startswith(";;", self.at):
                self.at, pattern = self.at + 2, True
            elif char in "\n;&|(":
                self.at, first, wrapper = self.at + 1, True, ""
            elif char == ")":
                self.at, first, wrapper, pattern = self.at + 1, True, "", False
            elif char in "<>":
                self._skip_redirection()
            else:
                word, literal = self._word()
                if pattern and word != "esac":
                    continue
                if word == "esac":
                    pattern, first = False, False
                elif last == "in-case" and word == "in":
                    pattern, last = True, ""
                elif first and word == "case":
                    first, last = False, "in-case"
                elif first:
                    first, wrapper = self._command_word(word, literal, wrapper)
                elif last in ("trap", "-c") and literal:
                    self._read_nested(word)
                if last != "in-case":
                    last = word

    def _command_word(self, word: str, literal: bool, wrapper: str) -> tuple[bool, str]:
        """Note a word where a command is expected. Return whether the next word is one too, and its wrapper."""
        if self.text.startswith("()", self.at):
            self.functions.add(word)
            self.at += 2
            return True, ""
        if word in _KEYWORDS or _ASSIGNMENT.match(word):
            return True, wrapper
        if word in _ENDS or word == "for":
            return False, ""
        if not literal:
            return True, wrapper
        if wrapper and not _NAME.fullmatch(word):
            return True, wrapper
        if _NAME.fullmatch(word) or word in BUILTINS:
            self.found.add(word)
        return word in _WRAPPERS, word if word in _WRAPPERS else ""

    def _read_nested(self, script: str) -> None:
        nested = _Reader(script)
        nested.read()
        self.found |= nested.found
        self.functions |= nested.functions

    def _word(self) -> tuple[str, bool]:
        """Return the next word, and whether it has no expansion."""
        parts: list[str] = []
        literal = True
        while self.at < len(self.text) and (char := self.text[self.at]) not in " \t\n;&|()<>":
            if char == "'":
                closing = self.text.index("'", self.at + 1)
                parts.append(self.text[self.at + 1 : closing])
                self.at = closing + 1
            elif char == '"':
                literal = self._quoted(parts) and literal
            elif char == "$":
                literal = False
                self._expansion()
            elif char == "\\":
                parts.append(self.text[self.at + 1 : self.at + 2])
                self.at += 2
            else:
                parts.append(char)
                self.at += 1
        return "".join(parts), literal

    def _quoted(self, parts: list[str]) -> bool:
        self.at += 1
        literal = True
        while self.text[self.at] != '"':
            if self.text[self.at] == "$":
                literal = False
                self._expansion()
            else:
                self.at += 1 + (self.text[self.at] == "\\")
                parts.append(self.text[self.at - 1])
        self.at += 1
        return literal

    def _expansion(self) -> None:
        """Skip an expansion. Commands in it are read."""
        self.at += 1
        if self.text.startswith("((", self.at):
            self.at = self.text.index("))", self.at) + 2
        elif self.text.startswith("(", self.at):
            self.at += 1
            self.read(end=")")
        elif self.text.startswith("{", self.at):
            self.at = self._end_of_braces() + 1
        elif found := re.compile(r"\w+|.", re.DOTALL).match(self.text, self.at):
            self.at = found.end()

    def _end_of_braces(self) -> int:
        depth = 0
        for place in range(self.at, len(self.text)):
            depth += {"{": 1, "}": -1}.get(self.text[place], 0)
            if depth == 0:
                return place
        raise ValueError("a brace is not closed")

    def _skip_line(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _skip_redirection(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in "<>&| \t-":
            self.at += 1
        self._word()


def unknown_programs(argv: Sequence[str]) -> Iterator[str]:
    """Yield the programs that neither the table nor the base of each host has."""
    yield from sorted(programs_of(argv) - KNOWN)
