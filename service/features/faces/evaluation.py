"""How well a face engine does on photos whose faces are known: the tables of docs/engine.md for anybody's photos."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.features.faces.engines.engine import Detection, Detections, Engine
from service.features.faces.engines.local.sessions import Floats

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BINS = 10  # of the calibration error
RESAMPLES = 2000  # of the bootstrap
AGE_GROUPS = ((0, 18), (18, 35), (35, 60), (60, 200))
ROUNDING = 1.0  # year: a range may miss a whole age by so much, since ages are told in whole years


class BadLabels(ValueError):
    """The file of labels cannot be used; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of a photo; gender, age and group are those of its only face."""

    path: Path
    faces: int
    gender: str
    age: float | None
    group: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an engine found in a labelled photo."""

    label: Label
    faces: Sequence[Detection]

    @property
    def face(self) -> Detection | None:
        """The largest face."""
        return self.faces[0] if self.faces else None


@dataclass(frozen=True, slots=True)
class Report:
    """A table: a title, column names, rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def read_labels(path: Path) -> list[Label]:
    """Read a CSV with a header: `file`, and as known `n_faces` (1), `gender`, `age` in years and `group`.

    Files are relative to the CSV's folder. Raises `BadLabels` with the line that is wrong.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if "file" not in (rows.fieldnames or ()):
            raise BadLabels(f"{path.name} needs a header with a column named file.")
        return [_label(path.parent, row, f"{path.name}, line {rows.line_num}") for row in rows]


def _label(folder: Path, row: dict[str, str | None], place: str) -> Label:
    text = {name: (row.get(name) or "").strip() for name in ("file", "n_faces", "gender", "age", "group")}
    try:
        faces = int(text["n_faces"] or 1)
        age = float(text["age"]) if text["age"] else None
    except ValueError:
        raise BadLabels(f"{place}: n_faces must be a whole number and age a number of years.") from None
    if text["gender"] not in ("", "male", "female"):
        raise BadLabels(f"{place}: gender must be male, female or empty.")
    photo = folder / text["file"]
    if not photo.is_file():
        raise BadLabels(f"{place}: there is no file {text['file']}.")
    return Label(photo, faces, text["gender"], age, text["group"])


def evaluate(engine: Engine, labels: Iterable[Label]) -> list[Report]:
    """Run the engine on every photo and return the tables. Raises `Failure` as the engine does."""
    outcomes = [Outcome(label, Detections.of(engine.detect(label.path.read_bytes())).faces) for label in labels]
    people = [outcome for outcome in outcomes if outcome.label.faces == 1 and outcome.face]
    return [_found(outcomes), _genders(people), _answers(people), _calibration(people), _ages(people)]


def _found(outcomes: Sequence[Outcome]) -> Report:
    expected = sum(outcome.label.faces for outcome in outcomes)
    found = sum(min(len(outcome.faces), outcome.label.faces) for outcome in outcomes)
    extra = sum(max(0, len(outcome.faces) - outcome.label.faces) for outcome in outcomes)
    return Report(
        "Faces found", ("photos", "faces", "found", "too many"), [_texts(len(outcomes), expected, found, extra)]
    )


def _genders(people: Sequence[Outcome]) -> Report:
    """Tell for each threshold how many are answered, and how many of these are right."""
    chances, males = _chances(people)
    sure = np.maximum(chances, 1 - chances)
    right = (chances > 0.5) == males
    rows = []
    for threshold in THRESHOLDS:
        answered = (sure >= threshold).astype(float)
        hits = right[sure >= threshold].astype(float)
        rows.append((f"{threshold:g}", *_texts(len(right)), _percent(answered), _percent(hits), _interval(hits, 100)))
    return Report("Gender by threshold", ("threshold", "faces", "answered %", "right %", "95 %"), rows)


def _answers(people: Sequence[Outcome]) -> Report:
    """Tell by group how often the engine names a gender by its own threshold, and how many of these are right."""
    rows: list[tuple[str, ...]] = []
    for name, group in _grouped([outcome for outcome in people if outcome.label.gender]):
        answers = [(outcome.face.gender, outcome.label.gender) for outcome in group if outcome.face]
        answered = np.array([gender != "unknown" for gender, _ in answers], float)
        hits = np.array([gender == truth for gender, truth in answers if gender != "unknown"], float)
        rows.append((name, str(len(answers)), _percent(answered), _percent(hits), _interval(hits, 100)))
    return Report("Gender as answered", ("group", "faces", "answered %", "right %", "95 %"), rows)


def _calibration(people: Sequence[Outcome]) -> Report:
    """Return the expected calibration error: the mean distance of confidence and share of right answers, over bins."""
    chances, males = _chances(people)
    sure = np.maximum(chances, 1 - chances)
    right = ((chances > 0.5) == males).astype(float)
    bins = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    error = sum(abs((sure - right)[bins == number].sum()) for number in range(BINS)) / max(1, len(right))
    return Report("Calibration of gender", ("faces", "expected error"), [(str(len(right)), f"{error:.3f}")])


def _ages(people: Sequence[Outcome]) -> Report:
    known = [
        outcome for outcome in people if outcome.label.age is not None and outcome.face and outcome.face.age is not None
    ]
    rows = [_age_row(name, group) for name, group in _grouped(known)]
    return Report("Age in years", ("group", "faces", "off by", "95 %", "bias", "95 %", "in range %", "range"), rows)


def _grouped(outcomes: Sequence[Outcome]) -> list[tuple[str, list[Outcome]]]:
    """Return the outcomes of all, of each age group, of each gender and of each named group."""
    groups: dict[tuple[int, str], list[Outcome]] = {}
    for outcome in outcomes:
        for key in _groups_of(outcome.label):
            groups.setdefault(key, []).append(outcome)
    return [(name, groups[order, name]) for order, name in sorted(groups)]


def _groups_of(label: Label) -> Iterator[tuple[int, str]]:
    """Yield the names of the groups that a face belongs to, each with a number by which they are sorted."""
    yield 0, "all"
    for low, high in AGE_GROUPS:
        if label.age is not None and low <= label.age < high:
            yield 1, f"{low:02} and over" if high == AGE_GROUPS[-1][1] else f"{low:02} to {high - 1}"
    if label.gender:
        yield 2, label.gender
    if label.group:
        yield 3, label.group


def _age_row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    faces = [(outcome.face, outcome.label.age) for outcome in outcomes]
    errors = np.array([face.age - age for face, age in faces if face and face.age is not None and age is not None])
    ranges = [
        (face.age_low, age, face.age_high)
        for face, age in faces
        if face and age is not None and face.age_low is not None and face.age_high is not None
    ]
    inside = np.array([low - ROUNDING < age < high + ROUNDING for low, age, high in ranges], float)
    width = f"{np.mean([high - low for low, _, high in ranges]):.0f}" if ranges else "–"
    off = abs(errors)
    return (
        name, str(len(errors)), f"{off.mean():.1f}", _interval(off), f"{errors.mean():+.1f}", _interval(errors),
        _percent(inside), width,
    )  # fmt: skip


def _chances(people: Sequence[Outcome]) -> tuple[Floats, Floats]:
    """Return the probabilities of male, and whether the label says male, of those of whom both are known."""
    known = [
        (outcome.face.male_probability, outcome.label.gender == "male")
        for outcome in people
        if outcome.face and outcome.label.gender and outcome.face.male_probability is not None
    ]
    pairs = np.array(known, float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _interval(values: Floats, factor: float = 1.0) -> str:
    """Return the 95 % bootstrap interval of a mean, the same at each call."""
    if not len(values):
        return "–"
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1) * factor, (2.5, 97.5))
    return f"{low:.1f} to {high:.1f}"


def _percent(values: Floats) -> str:
    return f"{100 * np.mean(values):.1f}" if len(values) else "–"


def _texts(*values: int) -> tuple[str, ...]:
    return tuple(map(str, values))
