"""Makes service/questions/data/builtin.json out of other people's tables, whose licences permit it.

    python scripts/make_questions.py elements.db countries-list/package bsdgames/quiz

The first is the database inside the PyPI package `mendeleev` 1.3.0, the second the unpacked npm package
`countries-list` 3.4.1, the third the folder of quiz files in Debian's package `bsdgames` 2.17. The same input
gives the same file, byte for byte. What the tables say that is disputed, out of date or would give the answer away
is left out by the lists below.
"""

import argparse
import json
import re
import sqlite3
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from service.features.questions.builtin import number_of  # noqa: E402 - the path comes first
from service.features.questions.source import fingerprint  # noqa: E402

TARGET = ROOT / "service" / "questions" / "data" / "builtin.json"
ORIGINS = {
    "elements": {"source": "mendeleev 1.3.0", "licence": "MIT"},
    "countries": {"source": "countries-list 3.4.1", "licence": "MIT"},
    "bsdgames": {"source": "bsdgames 2.17, quiz", "licence": "BSD-3-Clause"},
}


def codes(text: str) -> frozenset[str]:
    """Return a set of codes, written with spaces between them."""
    return frozenset(text.split())


# Seats of government that are disputed, divided, moving, abandoned or none at all.
NO_CAPITAL = codes("AC AX BO BQ CC CX EH GS HK ID IL IO KI LK MP MS NR PS SJ SZ TA TF TK ZA")
# Places with money of their own beside the one in the table, or hardly anybody to use it.
NO_CURRENCY = codes("AC AX BV CC CK FK FO GG GI GS HM IM IO JE KI NU PN SH SJ TA TF TV UM XK")
NO_CODE = codes("AQ AX BQ BV CW EH GG GS HM IM JE PN SH SJ TA TF UM VA XK")
NOT_ISO = codes("AC TA XK")
UNITS_OF_ACCOUNT = codes("BOV CHE CHW CLF USN UYI")
WITH_ARTICLE = re.compile(
    r"(Bahamas|British|Cayman|Central African|Cocos|Comoros|Cook|Democratic|Dominican|Falkland|Faroe|French S"
    r"|Gambia|Isle|Maldives|Marshall|Netherlands|Northern|Philippines|Pitcairn|Republic|Seychelles|Solomon|Turks"
    r"|U\.S\.|United)"
)
# The tables' slips of the pen, and what reads oddly as a quiz question.
STRANGE = {"operating companies", "rubbish", "brats", "rhinoceroses", "mules", "firemen", "{H|h}uns"}
DISPUTED_YOUNG = {"caterpillar", "fingerling|fry", "nestling"}
ODD_FLOWERS = {"Upside down", "Bay leaf", "Lilly", "Lilly of the valley", "Fuchsia", "Chrysanthemum, non-red/white"}
ODD_FLOWERS |= {"Rose, any color", "Rose, single, pink", "Rose, thornless, any color"}
MISSPELT = {
    "Andrew Marvel": "Andrew Marvell",
    "A. E. Houseman": "A. E. Housman",
    "Edward Fitzgerald": "Edward FitzGerald",
}
SELF_NAMED = {"Canada", "Quebec", "Oklahoma", "Northwest Territories", "Yukon Territory"}
ODD_WORDS = {"Y|y", "dog", "jack", "effeminate|womanish", "[O|o]edipus complex"}


class Question(NamedTuple):
    """A question of the file, in its order of members."""

    question: str
    answer: str
    category: str
    origin: str


def elements(database: Path) -> Iterator[Question]:
    """Ask for symbols, atomic numbers and periods, both ways where there is one answer."""
    rows = sqlite3.connect(database).execute("SELECT atomic_number, symbol, name, period FROM elements ORDER BY 1")
    for number, symbol, name, period in rows:
        word = name.lower()
        yield Question(f"What is the chemical symbol of {word}?", symbol, "Chemistry", "elements")
        yield Question(f"Which chemical element has the symbol {symbol}?", name, "Chemistry", "elements")
        yield Question(f"What is the atomic number of {word}?", str(number), "Chemistry", "elements")
        yield Question(f"Which chemical element has the atomic number {number}?", name, "Chemistry", "elements")
        yield Question(f"In which period of the periodic table is {word}?", str(period), "Chemistry", "elements")


def countries(folder: Path) -> Iterator[Question]:
    """Ask for capitals, currencies, dialling codes and ISO codes."""
    places = json.loads((folder / "countries.min.json").read_text("utf-8"))
    currencies = json.loads((folder / "currencies.min.json").read_text("utf-8"))
    capitals = Counter(plain(place["capital"]) for place in places.values())
    for code, place in sorted(places.items()):
        name = f"the {place['name']}" if WITH_ARTICLE.match(place["name"]) else place["name"]
        yield from capital(code, name, place, capitals)
        if len(place["currency"]) == 1 and code not in NO_CURRENCY:
            answer = currencies[place["currency"][0]]["name"]
            yield Question(f"What is the currency of {name}?", answer, "Currencies", "countries")
        if len(place["phone"]) == 1 and code not in NO_CODE:
            answer = re.sub(r"^\+1(\d{3})$", r"+1 \1", f"+{place['phone'][0]}")
            text = f"What is the international dialling code of {name}?"
            yield Question(text, answer, "Dialling codes", "countries")
        if code not in NOT_ISO:
            text = f"Which country or territory has the two-letter ISO code {code}?"
            yield Question(text, place["name"], "Country codes", "countries")
    for code, currency in sorted(currencies.items()):
        if code not in UNITS_OF_ACCOUNT:
            text = f"Which currency has the three-letter ISO code {code}?"
            yield Question(text, currency["name"], "Currencies", "countries")


def capital(code: str, name: str, place: dict[str, Any], capitals: Counter[str]) -> Iterator[Question]:
    """Ask for a capital and for its country, unless one gives the other away."""
    city = place["capital"]
    if not city or code in NO_CAPITAL or plain(city) in plain(name) or plain(place["name"]) in plain(city):
        return
    yield Question(f"What is the capital of {name}?", city, "Capitals", "countries")
    if capitals[plain(city)] == 1:
        text = f"{city} is the capital of which country or territory?"
        yield Question(text, place["name"], "Capitals", "countries")


def bsdgames(folder: Path) -> Iterator[Question]:
    """Ask what the quiz files ask that has one answer."""
    sentences: dict[str, tuple[str, str, set[str], Callable[[str, str], tuple[str, str]]]] = {
        "state": ("What is the capital of the U.S. state of {}?", "Capitals", set(), straight),
        "province": (
            "What is the capital of the Canadian province or territory of {}?",
            "Capitals",
            SELF_NAMED,
            straight,
        ),
        "collectives": ("Which collective noun stands for a group of {}?", "Words", STRANGE, straight),
        "babies": ("Which animal's young is called a {}?", "Words", DISPUTED_YOUNG, straight),
        "flowers": ("What does this stand for in the language of flowers: {}?", "Flowers", ODD_FLOWERS, lowered),
        "sexes": ("What is the female counterpart of this word: {}?", "Words", ODD_WORDS, straight),
    }
    for name, (sentence, category, left_out, turned) in sentences.items():
        for first, second, *_ in lines_of(folder / name):
            if first not in left_out:
                question, answer = turned(wording(first), joined(second))
                yield Question(article(sentence.format(question)), answer, category, "bsdgames")
    for first, _, title, author in (line for line in lines_of(folder / "poetry") if len(line) == 4):
        text = f"Who wrote the poem “{wording(title)}” with the line “{wording(first).rstrip(',;:. ')}”?"
        name = wording(author)
        yield Question(text, MISSPELT.get(name, name), "Poetry", "bsdgames")


def straight(question: str, answer: str) -> tuple[str, str]:
    """Take both as they are."""
    return question, answer


def lowered(question: str, answer: str) -> tuple[str, str]:
    """Begin the flower with a small letter, and put its colour first."""
    if not question.startswith("African"):
        question = question[0].lower() + question[1:]
    flower, _, colour = question.partition(", ")
    return f"{colour} {flower}".strip(), answer


def lines_of(path: Path) -> Iterator[list[str]]:
    """Return the fields of each line; a backslash at its end continues it."""
    text = path.read_text("latin-1").replace("\\\n", "")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.split(":")


def wording(pattern: str) -> str:
    """Return the first wording that a quiz pattern accepts: `{}` is optional and kept, `[|]` and `|` are choices."""
    while re.search(r"[{\[]", pattern):
        pattern = re.sub(r"\{([^{}\[\]]*)\}", lambda found: found[1].partition("|")[0], pattern)
        pattern = re.sub(r"\[([^{}\[\]]*)\]", lambda found: found[1].partition("|")[0], pattern)
    return pattern.partition("|")[0].strip()


def joined(pattern: str) -> str:
    """Return all wordings of an answer, the first of each choice in brackets."""
    choices = re.split(r"\|(?![^\[]*\])(?![^{]*\})", pattern)
    return " or ".join(wording(choice) for choice in choices)


def article(text: str) -> str:
    """Turn `a` into `an` before a vowel."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def plain(text: str) -> str:
    """Fold case, accents and spaces, to compare names."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in decomposed if letter.isalnum())


def without_doubles(questions: Iterator[Question]) -> list[Question]:
    """Keep of each text the first, unless the answers differ: then none, for both would be half right."""
    found: dict[str, list[Question]] = {}
    for question in questions:
        found.setdefault(fingerprint(question.question), []).append(question)
    return [same[0] for same in found.values() if len({one.answer for one in same}) == 1]


def main() -> None:
    """Read the three inputs, write the file, and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("elements", "countries", "bsdgames"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()

    def everything() -> Iterator[Question]:
        yield from elements(given.elements)
        yield from countries(given.countries)
        yield from bsdgames(given.bsdgames)

    questions = without_doubles(everything())
    numbers = {number_of(fingerprint(question.question)) for question in questions}
    if len(numbers) != len(questions):
        sys.exit("Two questions have one number: change the wording of one of them.")
    lines = ",\n".join(json.dumps(question._asdict(), ensure_ascii=False) for question in questions)
    TARGET.write_text(f'{{"origins": {json.dumps(ORIGINS, indent=1)},\n"questions": [\n{lines}\n]}}\n', "utf-8")
    sys.stdout.write(f"{len(questions)} questions: {dict(Counter(question.origin for question in questions))}\n")


if __name__ == "__main__":
    main()
