//! What happens when a node's socket opens.

use std::sync::Arc;

use serde_json::json;

use crate::gateway::State;
use crate::gateway::nodes::Connected;
use crate::gateway::nodes::pairing::Description;
use crate::gateway::nodes::policy::Allowlist;
use crate::gateway::rpc::{Caller, voice};
use crate::lifecycle;
use crate::protocol::events::Event;

/// Registers a node that said hello. One that no operator has approved yet
/// becomes a pairing request; every node learns the wake words.
pub fn arrived(state: &Arc<State>, caller: &Arc<Caller>) {
    let node = connected(state, caller);
    state.services.nodes.add(node.clone());
    let lifecycle = state.lifecycle.clone();
    let state = Arc::clone(state);
    lifecycle.spawn("node arrival", move |_stop| async move {
        let greeted = lifecycle::spawn_blocking(move || greet(&state, &node));
        if greeted.await.is_err() {
            tracing::warn!("a node was not greeted");
        }
    });
}

fn connected(state: &State, caller: &Caller) -> Connected {
    let client = &caller.client;
    let snapshot = state.config.load();
    let family = client.device_family.as_deref().unwrap_or_default();
    let allowed = Allowlist::of(&client.platform, family, &snapshot.config.gateway.nodes);
    Connected {
        node_id: caller.device_id.clone().unwrap_or_else(|| client.id.clone()),
        conn_id: caller.conn_id.clone(),
        display_name: client.display_name.clone(),
        platform: client.platform.clone(),
        version: Some(client.version.clone()),
        client_id: client.id.clone(),
        client_mode: client.mode.clone(),
        device_family: client.device_family.clone(),
        model_identifier: client.model_identifier.clone(),
        remote_ip: caller.remote_ip.clone(),
        caps: caller.caps.clone(),
        commands: allowed.filter(&caller.commands),
        path_env: caller.path_env.clone(),
        permissions: Some(caller.permissions.clone()),
        connected_at_ms: caller.connected_at,
    }
}

/// Blocking.
fn greet(state: &State, node: &Connected) {
    let triggers = json!({ "triggers": voice::triggers(state) });
    state.bus.send_to(&node.conn_id, Event::VoicewakeChanged, &triggers);
    let now = state.clock.now_ms();
    let book = &state.services.node_book;
    let known = match book.paired(&node.node_id, now) {
        Ok(Some(_)) => book.connected(&node.node_id, now).map(|()| None),
        Ok(None) => book.request(&node.node_id, description(node), false, now).map(Some),
        Err(err) => Err(err),
    };
    match known {
        Ok(Some((request, true))) => state.bus.broadcast(Event::NodePairRequested, &request),
        Ok(_) => {}
        Err(err) => tracing::warn!(node = node.node_id, %err, "node pairing not checked"),
    }
}

fn description(node: &Connected) -> Description {
    Description {
        display_name: node.display_name.clone(),
        platform: Some(node.platform.clone()),
        version: node.version.clone(),
        device_family: node.device_family.clone(),
        model_identifier: node.model_identifier.clone(),
        caps: Some(node.caps.clone()),
        commands: Some(node.commands.clone()),
        remote_ip: node.remote_ip.clone(),
        ..Description::default()
    }
}
