"""Alembic's entry: the models' tables against the database of the settings."""

import sqlalchemy as sa
from alembic import context

import service.augmentation.models
import service.faces.models
import service.jobs.models
import service.keys
import service.processing.models
import service.questions.models
import service.recordings.models
import service.renditions.models
import service.tries  # noqa: F401 - the imports fill the metadata
from service.db import Model

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url", ""))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Model.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
