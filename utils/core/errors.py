"""Errors whose cause lies outside the code; each message says what is wrong and what to do."""

MAX_PROBLEMS = 20  # listed per file; further ones are only counted


class InputError(Exception):
    """Arguments, data or settings that the user can correct; a command ends with exit code 2."""


class DataError(InputError):
    """Input that cannot be used; each line reads `FILE:LINE: what is wrong; what to do`."""


class SettingsError(InputError):
    """A run that does not exist, or that was started with other settings."""


class ProfileError(InputError):
    """An unknown profile, candidate or field, or a value of the wrong type; the message lists the valid ones."""


class WeightsError(InputError):
    """Weights that are missing, changed or too large."""


class DeviceError(InputError):
    """An unknown device."""


class DiskError(InputError):
    """A disk that is full or cannot be written; reads `FILE: what is wrong; what to do`."""


class LockError(InputError):
    """A run on which another call works."""


class LaunchError(RuntimeError):
    """Failed processes; the message names the first rank that failed and its error."""


class PartDone(Exception):
    """No error: a part of a notebook's trainings is done, and what follows needs all of them."""

    def __init__(self, part: tuple[int, int]) -> None:
        super().__init__(
            f"part {part[0]}/{part[1]} of the trainings is done; a call without --part gathers all of them"
        )


def cap_problems(problems: list[str]) -> list[str]:
    """The first problems of a file in words, and a line with the number of the rest, if there are any."""
    rest = len(problems) - MAX_PROBLEMS
    return problems[:MAX_PROBLEMS] + ([f"... and {rest} more of this file"] if rest > 0 else [])


def raise_problems(problems: list[str]) -> None:
    """Raises DataError with the problems of a file, as `cap_problems` lists them, if there are any."""
    if problems:
        raise DataError("\n".join(cap_problems(problems)))
