"""What stations and server sign about cards: the names of these papers, in their `typ`, and how
many people sign a ticket."""

from __future__ import annotations

TICKET, CERTIFICATE, ACCOUNT = "tally-ticket", "tally-card", "tally-account"
SIGNATURES = 2
