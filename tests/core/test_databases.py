"""Optuna and MLflow each need a database of their own; tables of both in one are an address that nobody can open."""

from __future__ import annotations

import sqlite3

import pytest

from ablate.core.databases import check_apart, owners_of_file
from ablate.core.errors import UsageError


def database(path, *tables):
    connection = sqlite3.connect(path)
    for table in tables:
        connection.execute(f"CREATE TABLE {table} (id INTEGER)")
    connection.commit()
    connection.close()
    return path


MLFLOWS, OPTUNAS = ("alembic_version", "experiments", "runs"), ("alembic_version", "studies", "version_info")


@pytest.mark.parametrize(
    ("tuning", "tracking"),
    [
        ("sqlite:///all.db", "sqlite:///all.db"),
        ("sqlite+pysqlite:///all.db?timeout=5", "sqlite:///all.db"),
        ("sqlite:///sub/../all.db", "sqlite:///all.db"),
        ("sqlite:///link.db", "sqlite:///all.db"),
        ("all.db", "sqlite:///all.db"),
        ("postgresql://h/lab", "postgresql+psycopg2://mia@h:5432/lab"),
        ("postgresql://127.0.0.1/lab", "postgresql://localhost/lab"),
        ("mysql+pymysql://h/lab", "mysql://h:3306/lab"),
    ],
)
def test_one_database_for_both_is_refused_however_it_is_written(folder, tuning, tracking):
    (folder / "sub").mkdir()
    (folder / "link.db").symlink_to("all.db")
    with pytest.raises(UsageError, match=r"one database for both, .*; allowed: two databases"):
        check_apart(tuning, tracking)


@pytest.mark.parametrize(
    ("tuning", "tracking"),
    [
        (None, "sqlite:///all.db"),
        ("sqlite:///tuning.db", "sqlite:///all.db"),
        ("sqlite:///tuning.db", None),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("tuning.log", "sqlite:///all.db"),
        ("postgresql://h/tuning", "postgresql://h/lab"),
        ("postgresql://h:5433/lab", "postgresql://h/lab"),
        ("postgresql://h/lab?options=-csearch_path%3Doptuna", "postgresql://h/lab"),
        ("postgresql://h/lab", "mysql://h/lab"),
        ("postgresql://h/lab", "http://h:5000"),
        ("postgresql://h:no/lab", "postgresql://h:no/lab"),
    ],
)
def test_two_databases_are_allowed(folder, tuning, tracking):
    check_apart(tuning, tracking)


def test_a_files_owner_is_told_by_its_tables(folder):
    assert owners_of_file(database(folder / "a.db", *MLFLOWS)) == ["MLflow"]
    assert owners_of_file(database(folder / "b.db", *OPTUNAS)) == ["Optuna"]
    assert owners_of_file(database(folder / "c.db", *{*MLFLOWS, *OPTUNAS})) == ["MLflow", "Optuna"]
    assert owners_of_file(database(folder / "d.db", "mine")) == []
    (folder / "e.db").write_bytes(b"SQLite format 3\0 torn")
    assert owners_of_file(folder / "e.db") == owners_of_file(folder / "none.db") == owners_of_file(folder) == []


@pytest.mark.parametrize("storage", ["sqlite:///mlflow.db", "mlflow.db", "sqlite+pysqlite:///mlflow.db"])
def test_a_tuning_is_not_stored_in_the_mlflow_of_an_earlier_study(folder, storage):
    database(folder / "mlflow.db", *MLFLOWS)
    with pytest.raises(UsageError, match=r"tune\.storage=.*mlflow\.db: it is MLflow's database, and Optuna needs one"):
        check_apart(storage, None)
