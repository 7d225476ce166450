"""What a server needs around it, written by `tally server init`: units, a proxy, a container."""
