"""What the tests and checks of the browser's side take from npm, and the node that runs it."""
