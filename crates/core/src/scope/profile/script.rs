//! Scripts that small languages take as an argument: whether they do more than transform text.
//!
//! Each judge scans tokens and errs on the side of no. Sources: the manuals of GNU sed (3.2 to 3.8), gawk
//! (4.10, 5, 9.2) and jq 1.7.

pub(super) mod awk;
pub(super) mod jq;
pub(super) mod sed;
