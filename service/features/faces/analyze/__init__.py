"""Photos straight through an engine, without tasks, server or database: a few to the terminal, millions to a folder."""
