//! The one integration binary: a file per behaviour, not per source module.
//! Each test starts what it needs on a free port with a home of its own.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, reason = "nothing outside this binary can reach anything")]

mod cli;
mod config;
mod fuzzed;
mod gateway;
mod hostile;
mod http;
mod malformed;
mod providers;
mod replay;
mod stop;
mod support;
