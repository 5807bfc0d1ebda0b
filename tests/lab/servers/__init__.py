"""What runs in the pretend internet: web, name and odd servers."""
