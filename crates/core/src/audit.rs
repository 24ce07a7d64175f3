//! The record of a run: what is written, how the records hang together, and how they are read.

pub mod bundle;
pub mod chain;
pub mod checkpoint;
pub mod commitment;
pub mod epoch;
pub mod log;
pub mod note;
pub mod policy;
pub mod proof;
pub mod record;
pub mod room;
pub mod scan;
pub mod timestamp;
pub mod trail;
pub mod tree;
pub mod verify;
pub mod witness;

pub use trail::AuditTrail;
