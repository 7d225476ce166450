"""The web panel: a card in the browser, with a drawer for engineers. Built with NiceGUI."""
