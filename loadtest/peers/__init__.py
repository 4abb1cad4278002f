"""What people would use instead, set up as its documentation advises, for the same work in the same run."""
