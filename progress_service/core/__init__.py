"""The pure core: jobs, the facts about them, and the board that holds them. No I/O and no clock."""
