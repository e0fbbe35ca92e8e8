"""Vector databases that people already run, as sources of candidates which are compared again, exactly."""
