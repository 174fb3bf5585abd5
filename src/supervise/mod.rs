//! Floor 3: the operating system as our supervisor: units, LaunchAgents,
//! readiness, watchdog, inherited sockets, signals.
