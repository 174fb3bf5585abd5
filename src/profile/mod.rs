//! Floor 1: who this process is on this host: its environment, its profile and
//! the paths and names that follow from them.

pub mod env;
pub mod installation;
pub mod paths;
