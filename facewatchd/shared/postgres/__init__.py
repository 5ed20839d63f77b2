"""The shared engine on PostgreSQL with pgvector. All that knows psycopg and the tables is here."""
