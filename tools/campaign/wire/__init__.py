"""The adversary on the serial line: a relay between station and card that does what it likes with
every block. Station and card are the product's own."""
