"""Give every layer its settings, errors, storage, cluster and logging; know no domain."""
