# make -C ports/rp2 BOARD=RPI_PICO FROZEN_MANIFEST=.../firmware/boards/micropython/rp2/manifest.py
# The port's other modules stay; its _boot.py does not.
freeze("$(PORT_DIR)/modules", "rp2.py")
freeze(".", "_boot.py")
