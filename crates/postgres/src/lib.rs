//! Where a PostgreSQL server is, and a connection to it that is encrypted or says why not.
//!
//! The ledger and the database tool both talk to PostgreSQL; what an address means, how the server
//! is recognised and what its errors mean for the operator is settled here, once.
//!
//! Nothing here shows an address, a password or a server's own error text. Nothing here falls back
//! to a connection that is not encrypted, and nothing is sent to a server whose certificate doesn't
//! hold.

mod address;
mod connect;
mod explain;
mod passfile;
mod tls;

pub use address::{Address, AddressError, Environment};
pub use connect::Connected;
pub use explain::explain;
