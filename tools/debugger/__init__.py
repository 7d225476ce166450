"""A debugger of firmware that goes back, too: `tally debug`, a Debug Adapter Protocol server."""
