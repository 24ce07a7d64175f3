//! The record of a run: what is written, how the records hang together, and how they are read.

pub mod chain;
pub mod checkpoint;
pub mod note;
pub mod record;
pub mod trail;
pub mod tree;

pub use trail::AuditTrail;
