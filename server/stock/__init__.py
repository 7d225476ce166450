"""The cards a firm has, and the containers that they come in."""
