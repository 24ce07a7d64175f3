//! Ways to reach a person. The contract is [`lar_core::approval::ApprovalGate`].

mod signed;
mod terminal;

pub use signed::Signatures;
pub use terminal::{TerminalGate, account, confirm_at_terminal};
