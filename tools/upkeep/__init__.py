"""Upkeep of the project itself: locked requirements, licences, commit subjects, flickering tests,
releases. Run by the Makefile, by hooks and by CI; nothing here is needed to use Tallystick."""
