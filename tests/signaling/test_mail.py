"""What a session knows of its mailbox: pages of mail before anything else, and what it has read."""

import pytest

from peerbus.signaling.mail import Mail


def test_mail_comes_in_pages_and_the_last_one_reaches_to_the_head() -> None:
    mail = Mail((3, 7, 8, 20), after=2, until=30)
    assert mail.page(2, 2) == ((3, 7), 8)
    assert mail.page(7, 2) == ((8, 20), 31)
    assert mail.page(20, 2) == ((), 31)
    assert Mail((), after=30, until=30).page(30, 2) == ((), 31)


def test_going_on_in_the_middle_of_it() -> None:
    mail = Mail((3, 7, 8, 20, 40), after=7, until=30)
    assert mail.unread == (8, 20)
    assert mail.newest == 40


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([2], [False]),  # nothing new lies beyond what was said before
        ([3, 3, 4], [True, False, True]),
        ([8, 9], [True, False]),
        ([99], [True]),
    ],
)
def test_what_was_read_is_told_once(said: list[int], told: list[bool]) -> None:
    mail = Mail((3, 7, 8), after=2, until=10)
    mail.acknowledge(2)
    assert [mail.acknowledge(offset) for offset in said] == told


def test_without_mail_nothing_is_told_until_some_arrives() -> None:
    mail = Mail((), after=10, until=10)
    assert not mail.acknowledge(50)
    mail.arrived(60)
    assert mail.acknowledge(60)
    assert not mail.acknowledge(70)
