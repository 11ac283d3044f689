"""Programs: flags become one frozen configuration, which becomes one call of a library."""
