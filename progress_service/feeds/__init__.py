"""Change feeds: sources of hints say which jobs may have changed, and one reader reads their rows."""
