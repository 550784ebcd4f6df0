"""What is refused before other machines are to run a study."""

import pytest

from branchfold.errors import StudyError
from branchfold.search.cluster.checks import check_reach

OTHER = {"10.0.0.7"}
GOOD = "postgresql://me@db.example/studies?artifacts=s3://bucket/studies"


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        (GOOD, "postgresql://me@localhost/studies?artifacts=s3://bucket/studies"),
        ("postgresql://me@db.example/studies?artifacts=/shared/studies", "postgresql://me@db.example/studies"),
    ],
)
def test_what_all_machines_reach_will_do(url, refused):
    """The next URL, which only this machine reaches, tells that the check looked."""
    assert reached(url, OTHER)
    assert not reached(refused, OTHER)


def test_a_cluster_of_this_machine_alone_reaches_its_files():
    assert reached("sqlite:///s.db", set())
    assert not reached("sqlite:///s.db", OTHER)


def reached(url, others):
    """Whether the check lets it pass."""
    try:
        check_reach(url, others)
    except StudyError:
        return False
    return True


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////shared/s.db?artifacts=/shared", "other machine 10.0.0.7, and SQLite is no database for several"),
        (
            "postgresql://me:hush@localhost/s?artifacts=/shared",
            r"cannot reach postgresql\+psycopg://me:\*\*\*@localhost/s",
        ),
        ("postgresql:///s?artifacts=/shared", "name the server as they know it"),
        ("postgresql:///s?host=/run/pg&artifacts=/shared", "name the server as they know it"),
        ("postgresql://me@db.example/studies", r"\?artifacts=s3://BUCKET/FOLDER or \?artifacts=/SHARED/FOLDER"),
        ("postgresql://me@db.example/studies?artifacts=shared", "artifacts=shared is another folder on each machine"),
    ],
)
def test_what_they_cannot_reach_is_refused(url, message):
    with pytest.raises(StudyError, match=message) as caught:
        check_reach(url, OTHER)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_machines_are_not_all_named():
    with pytest.raises(StudyError, match=r"10\.0\.0\.2 and 7 more, and SQLite"):
        check_reach("sqlite:///s.db", {f"10.0.0.{number}" for number in range(10)})
