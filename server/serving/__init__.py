"""The process: the HTTP application, its limits and logs, one worker or several."""
