"""`python -m tallystick.cli`: the same as the `tally` script."""

from tallystick.cli import main

main()
