"""A model of a CTAP authenticator's state, run against the firmware: every command, from two
channels, in every order.

What is expected is written from the standard (CTAP 2.1, proposed standard of 15 June 2021; sections
are named) and from what a host and a person know. Nothing of it is taken from the firmware.
"""
