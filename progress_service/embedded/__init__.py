"""A private PostgreSQL for the demo and the tests: no installation, no open port, no traces but a folder."""

from progress_service.embedded.server import EmbeddedPostgresError, embedded_postgres

__all__ = ["EmbeddedPostgresError", "embedded_postgres"]
