"""What every host package may use: errors, secrets, console output. Imports no other package."""
