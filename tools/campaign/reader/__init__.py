"""The fingerprint reader under the campaign: the same rooms as the card's."""
