"""The shared engine on PostgreSQL with pgvector. The only place that knows SQL, psycopg, or either of the two."""
