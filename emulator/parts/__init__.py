"""One module a part: what it does, what it costs in time (µs) and current (µA), how it fails."""
