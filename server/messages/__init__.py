"""What is sent to people: the words, the queue, and the ways to SMS and e-mail."""
