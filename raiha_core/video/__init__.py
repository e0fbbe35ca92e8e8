"""Video files: read and written frame by frame, with all that is not looked at kept as it was."""
