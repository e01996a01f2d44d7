"""Plan, read, keep and draw the registration of one scene to another."""
