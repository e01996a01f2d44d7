"""Keep the catalogue in PostgreSQL: pgSTAC's schema and search behind the same writing rules and guard."""
