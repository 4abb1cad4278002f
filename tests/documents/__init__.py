"""What the documents say of the code is made from the code; `make docs` does it, and `make check` looks."""
