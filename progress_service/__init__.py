"""Live progress of long jobs: from a PostgreSQL row to any web page."""
