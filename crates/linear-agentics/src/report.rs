//! An audit trail for a CI job: Markdown for its summary, JUnit for its list of tests, and JSON that
//! can be shown. And HTML for a notebook.
//!
//! The text in a trail is hostile. What is written here holds no control character, no markup and no
//! link that came from it.

pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub(crate) mod rows;
#[cfg(test)]
pub(crate) mod samples;

pub use html::render as html;
pub use json::{indented as json_with_indent, visible as visible_json};
pub use junit::render as junit;
pub use markdown::render as markdown;
