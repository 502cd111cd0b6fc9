"""What a command writes: no password of an address."""

import pytest

from utils.core.streams import hide_passwords
from utils.running import doctor


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://user:secret@host:9/simple, twice", "at https://****@host:9/simple, twice"),
        ("'http://token@host/a' and 'http://u:p/w@host/b'", "'http://****@host/a' and 'http://****@host/b'"),
        ("https://host/a, mail a@b", "https://host/a, mail a@b"),
        ("no address, user@host", "no address, user@host"),
    ],
)
def test_an_address_loses_its_user_and_password(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown


def test_the_doctor_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> doctor.Finding:
        raise ImportError("not at https://user:secret@host/simple")

    monkeypatch.setattr(doctor, "CHECKS", {"torch": fail})
    (finding,) = doctor.examine()
    assert finding.state == doctor.BROKEN and "https://****@host/simple" in finding.text
