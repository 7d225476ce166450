"""The station's console: a page on this computer for whoever stands at the docks."""
