"""The writer's side: rows of `bulk_enrichment_jobs`, made by people and reported on by workers."""
