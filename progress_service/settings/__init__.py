"""What an operator may set, and what the service makes of it."""

from progress_service.settings.refusals import SettingsError
from progress_service.settings.settings import Settings

__all__ = ["Settings", "SettingsError"]
