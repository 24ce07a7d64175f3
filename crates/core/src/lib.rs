//! The ground of Linear Agent Runtime: what a token allows, how a use of it is spent, and what is
//! written down.
//!
//! What this crate never does: it opens no file and no socket, starts no process and no thread,
//! reads no clock, no environment variable and no random number, and holds no `unsafe` code. The
//! time comes from the ledger, identities from the runtime.
//!
//! The order in which to read it: [`token`] and [`scope`] (what is allowed), [`capability`] and
//! [`set`] (authority to act once), [`invocation`] and [`call`] (one tool call, from the model's
//! bytes to a sealed proof), [`ledger`] (the contract of the durable truth), [`audit`] (the
//! record).

pub mod action;
pub mod approval;
pub mod audit;
pub mod budget;
pub mod call;
pub mod capability;
pub mod definition;
pub mod display;
pub mod error;
pub mod id;
pub mod invocation;
pub mod json;
pub mod ledger;
pub mod outcome;
pub mod redact;
pub mod scope;
pub mod set;
pub mod time;
pub mod token;
