//! What each method's parameters must look like: closed objects, one file per
//! family. A method without an entry reads its parameters as it likes.

mod agent;
mod channels;
mod chat;
mod config;
mod cron;
mod cron_input;
mod device;
mod exec;
mod node;
mod sessions;
mod shared;
mod system;
mod talk;
mod tools;
mod wizard;

use crate::protocol::frame::Request;
use crate::protocol::shape::Shape;

/// Brings what a method reads generously into the spelling that is checked.
pub fn normalise(request: &mut Request) {
    let read = match request.method.as_str() {
        "cron.add" => cron_input::job(&request.params),
        "cron.update" => cron_input::update(&request.params),
        _ => None,
    };
    if let Some(params) = read {
        request.params = params;
    }
}

/// The shape that the parameters of `method` must have, if it is fixed.
pub fn params(method: &str) -> Option<&'static Shape> {
    agent::params(method)
        .or_else(|| channels::params(method))
        .or_else(|| chat::params(method))
        .or_else(|| config::params(method))
        .or_else(|| cron::params(method))
        .or_else(|| device::params(method))
        .or_else(|| exec::params(method))
        .or_else(|| node::params(method))
        .or_else(|| sessions::params(method))
        .or_else(|| system::params(method))
        .or_else(|| talk::params(method))
        .or_else(|| tools::params(method))
        .or_else(|| wizard::params(method))
}
