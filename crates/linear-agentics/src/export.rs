//! One run, in the forms that other tools read.
//!
//! The bundle is the evidence. Everything else is made from the records for a purpose: a statement to
//! be signed and kept beside a release, rows for a spreadsheet, events for a SIEM, spans for tracing, a
//! page for a person.

mod bundle;
mod csv;
mod html;
mod ocsf;
mod otel;
mod sshsig;
mod statement;

pub use bundle::{Incomplete, bundle};
pub use csv::render as csv;
pub use html::render as html;
pub use ocsf::render as ocsf;
pub use otel::render as otel;
pub use sshsig::sshsig;
pub use statement::{Envelope, P256Key, dsse, in_toto, pae};

/// The version of the program that writes an export.
const VERSION: &str = env!("CARGO_PKG_VERSION");
