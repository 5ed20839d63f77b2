"""The methods of the protocol: what a request means and what answers it. No sockets here."""
