"""The stores of the firmware, on a flash so small that every state can be visited."""
