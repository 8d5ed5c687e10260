"""Questions as a feature."""

from service.features.feature import Feature, Kernel, Parts
from service.features.questions import operations
from service.features.questions.builtin import Builtin
from service.features.questions.routes import clues, questions
from service.features.questions.source import Source
from service.maintenance.checks import Inspection


def make(kernel: Kernel) -> Parts:
    """Make it for one application."""
    source = _source(kernel)
    services = operations.Services(database=kernel.database, source=source)
    return Parts(services=lambda _: {operations.Services: services})


def _source(kernel: Kernel) -> Source:
    """Make the source that the settings name. It connects with the first request."""
    settings = kernel.settings
    if settings.quiz_source == "builtin":
        return Builtin()
    if settings.quiz_source == "opentdb":
        from service.features.questions.opentdb import OpenTrivia

        return OpenTrivia(settings.opentdb_url, kernel.database)
    from service.features.questions.jservice import JService

    return JService(settings.quiz_source)


QUESTIONS = Feature(
    tags={
        clues: "Quiz questions in the form of jservice, for everybody.",
        questions: "Quiz questions that were fetched and stored.",
    },
    make=make,
    known_keys={},
    checks=Inspection(),
)
