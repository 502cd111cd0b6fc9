"""Errors whose cause lies outside the code; each message says what is wrong and what to do."""


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


class LaunchError(RuntimeError):
    """Failed processes; the message names the first rank that failed and its error."""
