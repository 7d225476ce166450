"""Who there is: firms, people, rights, passwords, factors, sessions, and what a firm allows."""
