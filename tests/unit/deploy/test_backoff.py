"""Waits between restarts."""

from deploy.local.backoff import Backoff


def test_the_first_restart_is_at_once_and_the_wait_doubles_up_to_five_seconds() -> None:
    backoff = Backoff()

    assert [backoff.after(1) for _ in range(8)] == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_long_life_is_a_new_beginning() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(1)

    assert [backoff.after(30), backoff.after(1)] == [0.0, 0.25]
