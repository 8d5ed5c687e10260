"""Jobs: one job is one file through one operation, in the background, with nothing lost."""
