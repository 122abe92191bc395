"""Plain English: phrases that need a second reading stand in no docstring, comment, message or page.

Each expression has the reason or the better phrase beside it. A path is taken out of `STILL_TO_DO` when it is clean.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import nlcore

ROOT = Path(nlcore.__file__).parents[1]

PHRASES = {
    r"(?<!there )\b(?:is|are|was) no (?!longer\b|more\b)[a-z]+": "is not a …",
    r"\b(?:has|have) none\b": "has no options, has no such …",
    r"(?<!there )\b(?:is|are) none\b(?! of)": "is not one",
    r"\bderivatives? by (?:the )?(?:scores|prediction|outputs?|features|costs)\b": "with respect to",
    r"\b(?:tells?|telling|told)\b": "a program does not tell: says, returns, reports",
    r"(?<!you )\b(?:knows?|knowing|wants)\b": "a program does not know or want: has, reads, takes",
    r"\bhand(?:s|ed)? (?:back|over|on|to|it|them)\b": "returns, passes",
    r"\bis handed\b": "receives, is passed",
    r"\b(?:mend|mends|mended|mending)\b": "fix",
    r"\btame\b": "bounded",
    r"\barms?\b": "method",
    r"(?<!learning )(?<!sampling )(?<!at the )\brates?\b": "learning rate",
    r"\bs/run\b": "seconds per run",
    r"\bminus plain\b": "difference to plain",
    r"\bplaces? of (?:an |the )?items?\b": "position, rank",
    r"\bsay(?:s|ing)? (?:something|nothing)\b": "is not zero almost everywhere; is meaningless",
    r"\bremoves lengths\b": "is invariant to the scale of the gradient",
    r"\bwithout a word\b": "silently",
    r"\bas it comes\b": "unchanged",
    r"(?-i:(?:^|[.:] |\"\"\")What) (?![^.]*\?)": "name the thing: the value, the message, the options",
    r"\bwhat (?:is|was) (?:found|given|left|made|needed|registered|returned|taken|there|written)\b": "name it",
    r"\bwhat there is\b": "name it",
    r"(?-i:\bIn which) ": "name the thing",
}

# Begins of module docstrings: they say what the module is.
BEGINS = re.compile(r"(?:What|Whether|How|Lets|Looks|Runs|Writes|Reads|Compares|Checks every|Hosts)\b")

# Not English: `code`, expressions in an f-string of Python 3.11, and a string that is one name or option.
CODE = re.compile(r"`[^`]*`|\{[^{}]*\}|^[\w\"'.-]+$")

CODE_BLOCK = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)

# Uses that are meant: the whole phrase, and why.
EXCEPTIONS = {
    "rates: [layers": "the argument of that name, derivatives of the swaps",
    "`nlcore plugins`: what is installed": "the question that the command answers",
    "is less likely than float64 can tell": "the message of a recorded run",
}

# Files and folders, from the root of the repository, whose English is still to be gone through.
STILL_TO_DO: tuple[str, ...] = ()


def files() -> list[str]:
    """Return what is held to plain English, from the root of the repository."""
    generated = (ROOT / "docs/algorithms", ROOT / "docs/reference/plugins")  # from docstrings, which are held to it
    pages = [one for one in ROOT.glob("docs/**/*.md") if not any(map(one.is_relative_to, generated))]
    found = [ROOT / "README.md", *pages, *ROOT.glob("nlcore/**/*.py")]
    found += [*ROOT.glob("nlcore/**/*.template"), *ROOT.glob("plugins/*/src/**/*.py")]
    return sorted(str(one.relative_to(ROOT)) for one in found)


def clean(path: str) -> bool:
    return not any(f"{path}/".startswith(f"{one}/") for one in STILL_TO_DO)


def prose(path: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each comment and string of a module; of another file each paragraph."""
    text = (ROOT / path).read_text("utf-8")
    if not path.endswith(".py"):
        text = CODE_BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
        for match in re.finditer(r"(?:.+\n?)+", text):
            yield text.count("\n", 0, match.start()) + 1, match[0]
        return
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            yield token.start[0], token.string


def faults(text: str) -> list[tuple[str, str]]:
    """Return phrase and advice for each phrase that is on the list."""
    text = CODE.sub("", " ".join(text.split()))
    for phrase in EXCEPTIONS:
        text = text.replace(phrase, "")
    return [
        (match[0], advice)
        for expression, advice in PHRASES.items()
        for match in re.finditer(expression, text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", [path for path in files() if clean(path)])
def test_no_phrase_needs_a_second_reading(path):
    found = [f"{path}:{line}: {phrase!r}: {advice}" for line, text in prose(path) for phrase, advice in faults(text)]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("path", [path for path in files() if clean(path) and path.endswith(".py")])
def test_a_module_says_what_it_is(path):
    first = next((text for _, text in prose(path) if not text.startswith("#")), "").strip('"')
    assert not BEGINS.match(first), first.partition("\n")[0]


def test_what_is_still_to_do_exists():
    assert [one for one in STILL_TO_DO if not (ROOT / one).exists()] == []
    assert len([path for path in files() if clean(path)]) > 40


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is no tensor.", ["is no tensor"]),
        ("It is no longer there, and is not a tensor.", []),
        ("the derivative by the scores", ["derivative by the scores"]),
        ("It tells the engine,\nand knows the rate.", ["tells", "knows", "rate"]),
        ("The learning rate of a method.", []),
        ("A harm, an army, a handle.", []),
        ("hands\n    back, an arm", ["hands back", "arm"]),
    ],
)
def test_the_list_finds_what_it_should(text, found):
    assert sorted(phrase for phrase, _ in faults(text)) == sorted(found)
