"""What `python -m progress_service` runs."""

from progress_service.cli import main

main()
