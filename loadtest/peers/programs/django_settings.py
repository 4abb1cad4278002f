"""The settings of `django_site.py`, which has the addresses too."""

ALLOWED_HOSTS = ["localhost"]
DEBUG = False
INSTALLED_APPS = ["django_eventstream"]
LOGGING_CONFIG = None
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "__main__"
SECRET_KEY = "only good for measuring"
