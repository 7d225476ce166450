"""The main job on real parts, as somebody at a keyboard would do it."""
