"""A firm's weeks in minutes: cards, stations, desk, server and people on one clock, from one seed.

The firmware's images, the station and the server are the product's own, and nothing of them is made
anew here. Time, randomness, network and threads are given to them (`ground`)."""
