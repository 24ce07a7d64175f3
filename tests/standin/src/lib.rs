//! Strict stand-ins on loopback for the services that the runtime talks to.
//!
//! Each server binds `127.0.0.1`, runs on a thread and a tokio runtime of its own (so that it can
//! be used from a synchronous test and from inside another runtime alike), records every request
//! that it saw, and stops when it is dropped.
//!
//! - [`messages::Server`] is the Anthropic Messages API.
//! - [`chat::Server`] is an OpenAI-compatible chat-completions endpoint.
//! - [`kube::Server`] is a small Kubernetes API server that a real `kubectl` works against.
//!
//! They are strict on purpose: what the real service refuses is refused here, with the same shape
//! of error, because a stand-in that is kinder than the real thing hides bugs.
//!
//! Nothing here ever opens a connection; nothing here is part of the product.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test support: stopping at the first surprise is what a test wants"
)]

pub mod chat;
pub mod kube;
pub mod messages;
mod play;
mod provider;
mod reply;
pub mod script;
mod serve;
mod stream;

pub use reply::Reply;
pub use serve::Recorded;
