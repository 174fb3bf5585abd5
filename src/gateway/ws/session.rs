//! After `connect`: decides what a message of an authenticated client means.
//! No I/O: the socket runs what this says.

use std::sync::Arc;

use crate::gateway::rpc::dispatch::{self, Verdict};
use crate::gateway::rpc::{Caller, Method};
use crate::protocol::error::ErrorShape;
use crate::protocol::frame::{FrameError, Request, Strictness, close};

/// Refusals for the wrong role, in a row, that a client may collect.
const MAX_WRONG_ROLE: u32 = 10;

/// An authenticated conversation.
#[derive(Debug)]
pub struct Session {
    caller: Arc<Caller>,
    wrong_role: u32,
}

/// What to do about a message.
#[derive(Debug)]
pub enum Step {
    Run(&'static Method, Request),
    Refuse(Refusal),
    /// Refuse, then close.
    Close {
        last: Refusal,
        code: u16,
        reason: &'static str,
    },
}

/// An answer to a message that leads to no call.
#[derive(Debug)]
pub struct Refusal {
    pub id: String,
    /// Absent when the message is no request.
    pub method: Option<String>,
    pub error: ErrorShape,
}

impl Session {
    pub fn new(caller: Arc<Caller>) -> Self {
        Self { caller, wrong_role: 0 }
    }

    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Decides about one message.
    pub fn on_text(&mut self, text: &str) -> Step {
        let strictness =
            if self.caller.protocol >= 4 { Strictness::Open } else { Strictness::Closed };
        let mut request = match Request::parse(text, strictness) {
            Ok(request) => request,
            Err(err) => {
                let message = match &err {
                    FrameError::NotJson(_) => format!("invalid request frame: {err}"),
                    FrameError::Malformed { .. } => err.to_string(),
                };
                let id = match &err {
                    FrameError::Malformed { id: Some(id), .. } => id,
                    _ => "invalid",
                };
                let (id, error) = (id.to_owned(), ErrorShape::invalid(message));
                return Step::Refuse(Refusal { id, method: None, error });
            }
        };
        match dispatch::route(&self.caller, &mut request) {
            Verdict::Run(row) => {
                self.wrong_role = 0;
                Step::Run(row, request)
            }
            Verdict::Refuse(error) => {
                self.wrong_role = 0;
                Step::Refuse(Refusal::of(request, error))
            }
            Verdict::WrongRole(error) => {
                self.wrong_role += 1;
                let last = Refusal::of(request, error);
                if self.wrong_role > MAX_WRONG_ROLE {
                    let reason = "repeated unauthorized calls";
                    Step::Close { last, code: close::POLICY, reason }
                } else {
                    Step::Refuse(last)
                }
            }
        }
    }
}

impl Refusal {
    fn of(request: Request, error: ErrorShape) -> Self {
        Self { id: request.id, method: Some(request.method), error }
    }
}
