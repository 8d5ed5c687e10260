"""Users, tasks, images and files of augmentation."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "User",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("password", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.Column("first_name", sa.String(length=200), nullable=True),
        sa.Column("last_name", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_User")),
        sa.UniqueConstraint("email", name=op.f("uq_User_email")),
    )
    op.create_table(
        "augmentation_task",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["User.id"], name=op.f("fk_augmentation_task_user_id_User"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_augmentation_task")),
    )
    op.create_index(op.f("ix_augmentation_task_user_id"), "augmentation_task", ["user_id"])
    op.create_table(
        "augmentation_image",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("media_type", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("error_detail", sa.String(length=500), nullable=True),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["augmentation_task.id"],
            name=op.f("fk_augmentation_image_task_id_augmentation_task"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_augmentation_image")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_augmentation_image_task_id_position"), "augmentation_image", ["task_id", "position"])
    op.create_table(
        "ImageTask",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("img_link", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["augmentation_task.id"],
            name=op.f("fk_ImageTask_task_id_augmentation_task"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ImageTask")),
        sa.UniqueConstraint("img_link", name=op.f("uq_ImageTask_img_link")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_ImageTask_task_id"), "ImageTask", ["task_id"])


def downgrade() -> None:
    op.drop_table("ImageTask")
    op.drop_table("augmentation_image")
    op.drop_table("augmentation_task")
    op.drop_table("User")
