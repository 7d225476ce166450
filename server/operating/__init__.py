"""For whoever runs the server: the command line, back-up and restore, the doctor."""
