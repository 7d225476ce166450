"""Looking inside while a device runs: waveforms, current, the serial line, the flash."""
