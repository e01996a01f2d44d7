"""Hold the commands of the terraloom command line, one file for each concern."""
