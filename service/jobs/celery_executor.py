"""Celery: messages carry the ids of jobs to the workers, and the rows stay the truth.

A message names a batch of jobs that are due, and lets the worker that gets it claim as many: the fairest ones at that
moment, by the same guarded UPDATE as everywhere. So a message that is lost, late or delivered twice does no harm. Until
its jobs are claimed a message is not acknowledged; from then on the leases in the rows protect them.
"""

import logging
import logging.config
import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from queue import SimpleQueue
from typing import Any

from celery import Celery, Task, concurrency, signals
from celery.concurrency.prefork import TaskPool as Prefork
from celery.concurrency.thread import TaskPool as ThreadPool
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from service.db.database import Database, News, first_line, is_away
from service.jobs import models, outages
from service.jobs.celery_dispatcher import CeleryDispatcher
from service.jobs.dispatcher import LOOK_SECONDS
from service.jobs.executors import ExecutorGroup
from service.telemetry import logging as logs

log = logging.getLogger(__name__)

SLOTS = 3
"""Messages that a worker holds at a time, where its command line does not say otherwise."""
HOLD_SECONDS = 0.5
"""After so long a message that finds no room makes way for those of other queues, to the end of its own."""
BATCH = 50
"""The most ids in one message; a small task gets smaller messages, so that all workers have a part of it."""
SMALL_BATCH = 8
BROKER_SECONDS = 3
"""How long the broker may take to answer."""
REPUBLISH_SECONDS = 0.5
"""How long jobs are due before a worker looks for those that no message tells of."""
REPUBLISH_JOBS = 1000
"""So many jobs are published again at most."""
SOFT_LIMIT, HARD_LIMIT = 30, 60
"""Seconds that a message may take in a process of its own. It takes `HOLD_SECONDS`, unless something is stuck."""


class CeleryExecutor:
    """Publishes jobs from every process, and in the processes of `celery worker` works on them."""

    def __init__(
        self,
        database: Database,
        dispatchers: Mapping[str, CeleryDispatcher],
        broker_url: str,
        *,
        log_settings: dict[str, Any],
        begin: Callable[[], object],
    ) -> None:
        """There is a dispatcher for every queue; `begin` prepares a process for work, and what it returns is kept."""
        self.app = celery_app(broker_url, tuple(dispatchers))
        self._database = database
        self._dispatchers = dispatchers
        self._group = ExecutorGroup(*dispatchers.values())
        self._queue_of = {kind: name for name, dispatcher in dispatchers.items() for kind in dispatcher.kinds}
        self._begin = begin
        self._log_settings = log_settings
        self._added: SimpleQueue[tuple[str, Sequence[int]] | None] = SimpleQueue()
        self._publisher: threading.Thread | None = None
        self._lock = threading.Lock()
        self._broker_is_away = False
        self._news = threading.Event()
        self._stopped = False
        self._held: object = None
        # Of all processes that fork from this one, which get no signal when it is told to end: it is written once, read
        # never, and so shows them all that something was written.
        self._ending, self._end = os.pipe()

        @self.app.task(name="run", bind=True)  # type: ignore[untyped-decorator]  # Celery has no types
        def run(task: Task, job_ids: list[int]) -> None:
            queue = task.request.delivery_info["routing_key"]
            if left := dispatchers[queue].permit(len(job_ids), HOLD_SECONDS):
                self._publish(queue, job_ids[-left:])

        self._run = run
        database.observe(self._publish_later)
        self._listen()

    # What all processes call.

    def start(self) -> None:
        """Begin to work; call it in a worker, after the fork."""
        self._held = self._begin()
        self._group.start()
        self._database.listen(lambda news: self._news.set())
        threading.Thread(target=self._sweep, name="sweep", daemon=True).start()
        threading.Thread(target=self._await_end, name="end", daemon=True).start()
        log.info("working on jobs")

    def _publish_later(self, news: News) -> None:
        """Publish new jobs, in a thread: nobody waits for the broker, and one that is away fails no request."""
        added = {kind: ids for kind, ids in news.items() if ids}
        if not added:
            return
        with self._lock:
            if not self._publisher:
                self._publisher = threading.Thread(target=self._publish_added, name="publisher", daemon=True)
                self._publisher.start()
        for kind, ids in added.items():
            self._added.put((self._queue_of[kind], ids))

    def cancel(self, task: str, kind: str | None = None) -> None:
        """Stop a task's runs here; the workers see within `CANCEL_POLL` seconds that their rows are gone."""
        self._group.cancel(task, kind)

    def begin_stop(self) -> None:
        """Claim nothing more."""
        self._group.begin_stop()

    def stop(self) -> None:
        """Publish what was added, let what runs end within the time of grace, and give back the rest."""
        self._stopped = True
        self._news.set()
        self._group.stop()
        if self._publisher:
            self._added.put(None)
            self._publisher.join(BROKER_SECONDS)

    def working(self) -> bool:
        """Return whether jobs are being taken here."""
        return self._group.working()

    def check(self) -> None:
        """Raise an error if the broker does not answer."""
        with self.app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
            connection.default_channel.close()

    # Publishing.

    def _publish_added(self) -> None:
        while added := self._added.get():
            self._publish(*added)

    def _publish(self, queue: str, ids: Sequence[int]) -> None:
        """Publish jobs in batches; what the broker does not take, a sweep publishes when it is back."""
        size = max(SMALL_BATCH, min(BATCH, len(ids) // 32))

        def send() -> None:
            with self.app.producer_pool.acquire(block=True, timeout=BROKER_SECONDS) as producer:
                for begin in range(0, len(ids), size):
                    self._run.apply_async((list(ids[begin : begin + size]),), queue=queue, producer=producer)

        self._ask(send)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Return what the broker says, or None while it is away, which is logged once."""
        try:
            answer = question()
        except _faults(self.app) as error:
            if not self._broker_is_away:
                said = str(error).partition("\n")[0]
                logs.event(log, "the broker is away; a sweep publishes what it missed", logging.WARNING, said=said)
            self._broker_is_away = True
            return None
        self._broker_is_away = False
        return answer

    # A worker.

    def _await_end(self) -> None:
        """Notice that the parent is to end."""
        select.select([self._ending], [], [])
        self.begin_stop()

    def _sweep(self) -> None:
        """Publish what nobody has published, when there is news, when a job falls due, and from time to time."""
        due = 0.0
        while not self._stopped:
            self._news.wait(max(0.0, min(due - time.time(), LOOK_SECONDS)))
            # The messages come first. By chance, so that of many workers not all look at once and publish the same.
            time.sleep(REPUBLISH_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - it keeps no secret
            self._news.clear()
            try:
                due = self._republish()
            except SQLAlchemyError as error:
                if not is_away(error):
                    log.exception("the sweep of jobs failed; it tries again")
                else:
                    logs.event(
                        log, "the database is away; the sweep tries again", logging.WARNING, said=first_line(error)
                    )

    def _republish(self) -> float:
        """Publish jobs of the queues of which this worker may claim nothing, though some are due and no message waits.

        They are those whose message is lost, that were never published, recovered from a dead worker, or that wait
        for another try. A job that is published twice costs a message: only one claim gets it. Return when the next job
        is due, in seconds since 1970, or was.
        """
        now, missed = time.time(), dict[str, list[int]]()
        latest = {name: dispatcher.latest(now) for name, dispatcher in self._dispatchers.items()}
        with self._database.read() as session:
            away = outages.open_outages(session)
            queued = models.next_due(session, dict(chain(*(kinds.items() for kinds in latest.values()))), now=now)
            ready = {kind for kind, moment in queued.items() if moment is not None and moment <= now}
            claimable = {kind for kind in ready if kind not in away or away[kind].due_at(now) <= now}
            for name, dispatcher in self._dispatchers.items():
                due = {kind: last for kind, last in latest[name].items() if kind in claimable}
                if due and not dispatcher.has_permits():
                    missed[name] = models.due(session, due, 1 if away else REPUBLISH_JOBS, now=now)
        for name, ids in missed.items():
            if ids and self._ask(partial(self._messages, name)) == 0:
                self._publish(name, ids)
        return min((moment for moment in queued.values() if moment is not None), default=float("inf"))

    def _messages(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        with self.app.connection_or_acquire() as connection:
            # Redis knows no empty queue, and RabbitMQ perhaps not yet this one: to declare it counts it all the same.
            number: int = self.app.amqp.queues[queue](connection.default_channel).queue_declare().message_count
            return number

    def _listen(self) -> None:
        """Take part in the life of Celery's processes: with threads there is one, else a parent and its children."""
        signals.setup_logging.connect(self._set_up_logging, weak=False)
        signals.worker_init.connect(self._on_init, weak=False)
        signals.worker_process_init.connect(lambda **_: self.start(), weak=False)
        signals.worker_process_shutdown.connect(lambda **_: self.stop(), weak=False)
        signals.worker_shutting_down.connect(self._on_ending, weak=False)
        signals.worker_shutdown.connect(self._on_end, weak=False)

    def _set_up_logging(self, **_: Any) -> None:
        logging.config.dictConfig(self._log_settings)
        for name in ("celery.worker.strategy", "celery.app.trace"):  # a line or two for every message
            logging.getLogger(name).setLevel(logging.WARNING)

    def _on_init(self, sender: Any, **_: Any) -> None:
        self._set_up_logging()  # Celery asks for it only later
        pool = concurrency.get_implementation(sender.pool_cls)
        if issubclass(pool, ThreadPool):
            self.start()
        elif not issubclass(pool, Prefork):
            sys.exit("Start the worker with --pool threads or --pool prefork; the service knows no other.")

    def _on_ending(self, **_: Any) -> None:
        os.write(self._end, b"1")
        self.begin_stop()

    def _on_end(self, **_: Any) -> None:
        self.stop()
        if any(dispatcher.is_busy() for dispatcher in self._dispatchers.values()):
            # Python would wait for a thread that was given up, and so for whoever keeps it waiting.
            logging.shutdown()
            os._exit(0)


def celery_app(broker_url: str, queues: Sequence[str]) -> Celery:
    """Make Celery's application. It connects with the first message."""
    app = Celery("service", broker=broker_url, set_as_current=False)
    exchange = Exchange("jobs", type="direct")
    app.conf.update(
        task_queues=[Queue(name, exchange, routing_key=name) for name in queues],
        task_default_queue=queues[0],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=SLOTS,
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_soft_time_limit=SOFT_LIMIT,
        task_time_limit=HARD_LIMIT,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0},
        broker_connection_timeout=BROKER_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(broker_url),
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def _transport_options(broker_url: str) -> dict[str, Any]:
    if not broker_url.startswith("redis"):
        return {"confirm_publish": True}
    return {
        # Redis gives a message of a dead worker to another one after this; with a look every ten seconds.
        "visibility_timeout": HARD_LIMIT,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": BROKER_SECONDS,
        "socket_timeout": 2 * BROKER_SECONDS,
        "socket_keepalive": True,
    }


def _faults(app: Celery) -> tuple[type[BaseException], ...]:
    """Return what is raised while the broker is away."""
    connection: Connection = app.connection_for_write()
    return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)
