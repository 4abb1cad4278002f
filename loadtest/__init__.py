"""Programs that measure the service, each against its goal: `python -m loadtest --help` lists them."""
