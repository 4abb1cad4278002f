"""Where frames go: what is due, who listens, and what each of them is sent."""
