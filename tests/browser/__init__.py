"""What a real browser makes of the client, and of the pages that carry it."""
