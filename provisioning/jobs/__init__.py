"""Jobs: a ticket that two people sign says how many cards a station may make, and what was made is
certified and accounted for."""
