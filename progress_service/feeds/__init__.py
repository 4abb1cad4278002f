"""Where changes come from. Each feed tells facts about rows; after any doubt it tells a whole snapshot."""
