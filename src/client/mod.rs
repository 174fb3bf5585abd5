//! Floor 3: our own WebSocket client, used by the command line, by probes and
//! by tests.
