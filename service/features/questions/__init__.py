"""Quiz questions: fetched from a source, each stored once for ever."""
