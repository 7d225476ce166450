"""Cards that change hands: assigned, claimed, lent for a day, taken back."""
