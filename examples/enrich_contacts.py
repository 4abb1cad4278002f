"""Enrich a CSV file of contacts while its user watches, in any web page: the example to copy.

    pip install '.[demo]'
    export DATABASE_URL=postgresql://…
    python examples/enrich_contacts.py examples/contacts.csv enriched.csv USER_ID

A worker that goes on after it was killed, and writes each contact once, is contacts_worker.py.
"""

import asyncio
import csv
import sys
from pathlib import Path

from contacts import FOUND, contact_file
from enrichment import enrich

from progress_service import JobCancelled, track


async def enrich_contacts(source: Path, output: Path, user_id: str) -> None:
    """Write each contact of *source*, with what was found on it, to *output*."""
    file = contact_file(source)
    with output.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([*file.header, *FOUND])
        async for contact in track(file.contacts, user_id=user_id, label=source.name):
            rows.writerow([*contact.fields, *enrich(contact, region="US").columns])


if __name__ == "__main__":
    try:
        asyncio.run(enrich_contacts(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
    except JobCancelled as error:
        sys.exit(str(error))
