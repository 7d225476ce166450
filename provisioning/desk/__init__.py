"""The loans desk: what support staff do with a spare card in the hand."""
