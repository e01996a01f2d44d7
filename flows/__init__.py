"""Say order, fan-out and parameters of Prefect flows, and hold the command line."""
