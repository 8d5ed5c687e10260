"""Alembic's entry: the models' tables against the database of the settings."""

import sqlalchemy as sa
from alembic import context

import service.app  # noqa: F401 - it imports the models of every feature of the catalogue, and all others
from service.db.database import Model

# Whoever comes second waits, and then finds nothing to do. All migrations of a call are one transaction.
LOCKS = {"postgresql": "SELECT pg_advisory_xact_lock(7203114655210938002)", "sqlite": "BEGIN IMMEDIATE"}

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url", ""))
if engine.dialect.name == "sqlite":
    # Transactions begin where this file says, not where the driver guesses, which is after the first tables are made.
    sa.event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=Model.metadata, render_as_batch=True, transactional_ddl=True
    )
    with context.begin_transaction():
        connection.exec_driver_sql(LOCKS[engine.dialect.name])
        context.run_migrations()
engine.dispose()
