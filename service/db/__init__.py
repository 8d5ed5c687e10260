"""The database: transactions, SQLite, PostgreSQL."""
