"""Time to the first byte over a link with delay: what is asked how, of whom, and what is made of it."""
