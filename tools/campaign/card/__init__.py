"""The card under the campaign: scenarios, judgement, and broken firmwares to be caught."""
