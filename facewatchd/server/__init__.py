"""The socket: connections, lines and JSON-RPC. Nothing here knows what a face is."""
