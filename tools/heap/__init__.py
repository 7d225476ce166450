"""How much heap the firmware needs: the smallest with which what a device does still works."""
