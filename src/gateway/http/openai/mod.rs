//! The OpenAI-compatible endpoints below `/v1`.

pub mod chat;
pub mod conversation;
pub mod embeddings;
pub mod media;
pub mod models;
pub mod pdf;
pub mod responses;
pub mod run;
