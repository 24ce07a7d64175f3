//! Ways to reach a person. The contract is [`lar_core::approval::ApprovalGate`].

mod terminal;

pub use terminal::{TerminalGate, account};
