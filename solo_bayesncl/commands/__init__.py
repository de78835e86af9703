"""What can be typed? One module for each command: parse, call one function, print."""
