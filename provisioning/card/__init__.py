"""A client for the card. One layer a module: `link` (bytes), `t1` (blocks), `connection` (APDUs),
`scp03` (secure channel), `issuer` and `oath` (one applet's commands each)."""
