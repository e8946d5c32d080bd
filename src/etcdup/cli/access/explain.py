"""`etcdup explain`: a rule by its number, a finding by its code, or the list of both. Imports nothing heavy."""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from etcdup.cli.views.text import Paint, json_text, to_terminal, wrap_text
from etcdup.core.rules import CODES, RULES, TOPICS, Code, Rule
from etcdup.errors import EXIT_DONE, UsageError

_WIDEST = 80
_NARROWEST = 40


def explain(what: str, *, as_json: bool) -> int:
    """Print what was asked for: rule numbers, codes or CIS controls. Without any, list all rules and codes."""
    found = _find(what)
    if as_json:
        text = json_text(explanation_json(found or (*RULES.values(), *CODES.values())))
    else:
        width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))
        paint = Paint.for_stream(sys.stdout)
        text = explanation(found, width, paint) if found else overview(paint)
    sys.stdout.write(to_terminal(text))
    return EXIT_DONE


def _find(what: str) -> tuple[Rule | Code, ...]:
    """Return what each word names. `rules 4, 57` is accepted as it is printed. Raise UsageError for a wrong word."""
    words = [
        word for word in re.split(r"[\s,;()]+", what.lower()) if word not in ("", "rule", "rules", "cis")
    ]
    return tuple(each for word in dict.fromkeys(words) for each in _named(word))


def _named(word: str) -> tuple[Rule | Code, ...]:
    if word.isdecimal():
        if int(word) not in RULES:
            raise _unknown(f"there is no rule {word}", _near_numbers(int(word)))
        return (RULES[int(word)],)
    if word in CODES:
        return (CODES[word],)
    if controls := tuple(code for code in CODES.values() if code.cis == word):
        return controls
    raise _unknown(f"there is no rule and no code {word}", _near_codes(word))


def _near_numbers(number: int) -> list[str]:
    return [str(near) for near in sorted(sorted(RULES, key=lambda each: abs(each - number))[:3])]


def _near_codes(word: str) -> list[str]:
    """Return the codes that contain the word, then those that are spelt like it."""
    holding = [code for code in CODES if word in code]
    return list(dict.fromkeys([*holding, *get_close_matches(word, CODES, n=3, cutoff=0.5)]))[:3]


def _unknown(message: str, near: Sequence[str]) -> UsageError:
    commands = " or ".join(f"`etcdup explain {each}`" for each in near)
    hints = [f"run {commands}"] if commands else []
    return UsageError(message, hint="\n".join([*hints, "run `etcdup explain` to list all rules and codes"]))


def explanation(found: Iterable[Rule | Code], width: int, paint: Paint) -> str:
    """Return the text of each rule and each code, with an empty line between two."""
    parts = [
        _rule_lines(each, width, paint) if isinstance(each, Rule) else _code_lines(each, width, paint)
        for each in found
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _rule_lines(rule: Rule, width: int, paint: Paint) -> Iterator[str]:
    yield from _heading(f"Rule {rule.number}: {rule.title}", width, paint)
    yield from _paragraph("", rule.says, width, paint)
    yield from _paragraph("Why", rule.why, width, paint)
    yield ""
    yield paint("bold", "Source")
    for source in sources_of(rule):
        yield from wrap_text(source, width, "  ")


def _code_lines(code: Code, width: int, paint: Paint) -> Iterator[str]:
    control = f" (CIS {code.cis})" if code.cis else ""
    yield from _heading(f"{code.code}: {code.title}{control}", width, paint)
    yield from _paragraph("", code.means, width, paint)
    yield from _paragraph("Why", code.why, width, paint)
    yield from _paragraph("What to do", code.do, width, paint)
    if code.rules:
        yield ""
        yield paint("bold", "Rules")
        for number in code.rules:
            yield _row(str(number), 5, RULES[number].title, paint)


def _heading(text: str, width: int, paint: Paint) -> list[str]:
    return [paint("bold", line) for line in wrap_text(text, width)]


def _paragraph(title: str, text: str, width: int, paint: Paint) -> Iterator[str]:
    yield ""
    if title:
        yield paint("bold", title)
    yield from wrap_text(text, width, "  ")


def overview(paint: Paint) -> str:
    """Return all rules by topic, then all codes, each on one line."""
    lines = []
    for topic, rules in TOPICS.items():
        lines += [paint("bold", topic), *(_row(str(rule.number), 5, rule.title, paint) for rule in rules), ""]
    lines.append(paint("bold", "Findings of `etcdup check`"))
    longest = max(map(len, CODES))
    lines += [_row(code.code, -longest, code.title, paint) for code in CODES.values()]
    lines += ["", "`etcdup explain 18` explains a rule, `etcdup explain clock-differs` a finding."]
    return "\n".join(lines) + "\n"


def _row(name: str, width: int, title: str, paint: Paint) -> str:
    """Return a name and its title. `width` is the width of the names, negative to align them on the left."""
    aligned = f"  {name:<{-width}}" if width < 0 else f"{name:>{width}}"
    return f"{paint('cyan', aligned)}  {title}"


def sources_of(rule: Rule) -> list[str]:
    """Return the addresses and tests that a rule comes from."""
    return rule.source.split("; ")


def explanation_json(found: Iterable[Rule | Code]) -> dict[str, Any]:
    """Return rules and codes as the types of JSON."""
    each = list(found)
    return {
        "format": 1,
        "rules": [_rule_json(rule) for rule in each if isinstance(rule, Rule)],
        "codes": [asdict(code) | {"cis": code.cis or None} for code in each if isinstance(code, Code)],
    }


def _rule_json(rule: Rule) -> dict[str, Any]:
    facts = asdict(rule)
    del facts["source"]
    return facts | {"sources": sources_of(rule)}
