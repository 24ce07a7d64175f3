//! What happens between the model and the world.
//!
//! Every tool call takes one path, [`dispatch::Dispatcher::dispatch`]; read it first. The agent loop
//! ([`agent`]) and everybody else who has calls to make go through it.
//!
//! What this crate never does: it opens no ledger (it is handed one), keeps no list of what was
//! spent, and gives no text of the model or of a child to a terminal unescaped.

pub mod agent;
pub mod approval;
pub mod confine;
pub mod dispatch;
pub mod event;
pub mod journal;
pub mod kept;
pub mod model;
pub mod negotiate;
pub mod recover;
pub mod secrets;
pub mod stop;
pub mod timestamp;
pub mod tools;
mod watching;
pub mod witness;
mod words;
