"""The station: finds a card on a serial line, gives it the firm's keys and a seed, registers it.

card/      connection → protocol → session: serial line, T=1, APDU, SCP03, issuer and OATH commands.
custody/   where master keys and seeds live, behind one interface.
The rest   the steps of a card (`steps`), their journal, the server's client, the command line.
"""
