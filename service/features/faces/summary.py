"""A task as clients see it in lists and webhooks: without its images."""

from typing import Any

from service.features.faces.models import MICRO, Task


def summary(task: Task) -> dict[str, Any]:
    """Return the members of a task without its images."""
    return {
        "id": task.id,
        "name": task.name,
        "status": task.status,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "progress": {
            "total": task.total,
            "pending": task.total - task.done - task.failed,
            "done": task.done,
            "failed": task.failed,
        },
        "statistics": {
            "faces": task.faces,
            "men": task.men,
            "women": task.women,
            "men_average_age": _average(task.men_age_sum, task.men_with_age),
            "women_average_age": _average(task.women_age_sum, task.women_with_age),
        },
    }


def _average(age_sum: int, people: int) -> float | None:
    return age_sum / (MICRO * people) if people else None
