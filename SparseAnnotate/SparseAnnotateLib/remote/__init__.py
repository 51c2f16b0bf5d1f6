"""Work on another computer, behind OpenSSH: the relay, what is copied, and the hosts that were set up."""
