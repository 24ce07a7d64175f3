//! Names of tokens and of their tools: each is given once.

use std::collections::HashMap;
use std::ops::Range;

use lar_core::audit::room::MOST_TOKENS_BYTES;
use lar_core::set::{RESERVED_NAMES, SetError, bytes_of};
use lar_core::token::Token;

use super::diagnostic::{Diagnostic, Sink};
use super::value::shown;

/// The names that were given so far, of tokens and of their tools.
#[derive(Debug, Default)]
pub(super) struct Names {
    tokens: HashMap<String, Range<usize>>,
    tools: HashMap<String, (String, Range<usize>)>,
    /// How much room the tokens take in a run's first record.
    bytes: usize,
}

impl Names {
    /// Notes a name, and tells when it is taken.
    pub fn add(&mut self, name: &str, token: Option<&Token>, span: Range<usize>, sink: &mut Sink) {
        let tool = token.map(Token::tool_name);
        if tool.as_deref().is_some_and(|tool| RESERVED_NAMES.contains(&tool)) {
            let message = format!("the runtime has a tool `{}` of its own", shown(name));
            sink.push(Diagnostic::new(span.clone(), message).help("rename the token"));
        }
        if let Some(first) = self.tokens.get(name) {
            let message = format!("two tokens are named `{}`", shown(name));
            let also = Some((first.clone(), "the first one"));
            sink.push(
                Diagnostic { also, ..Diagnostic::new(span, message) }.help("rename one of them"),
            );
            return;
        }
        self.tokens.insert(name.to_owned(), span.clone());
        if let Some(token) = token {
            self.measure(token, span.clone(), sink);
        }
        let Some(tool) = tool else { return };
        if let Some((other, first)) = self.tools.get(&tool) {
            let message = format!(
                "tokens `{}` and `{}` are both the tool `{tool}`",
                shown(other),
                shown(name)
            );
            let also = Some((first.clone(), "the first one"));
            sink.push(
                Diagnostic { also, ..Diagnostic::new(span, message) }.help("rename one of them"),
            );
            return;
        }
        self.tools.insert(tool, (name.to_owned(), span));
    }

    /// Tells when the tokens, this one added, don't fit into the record of a run.
    fn measure(&mut self, token: &Token, span: Range<usize>, sink: &mut Sink) {
        let before = self.bytes;
        let error = match bytes_of(token) {
            Err(error) => error,
            Ok(bytes) => {
                self.bytes += bytes;
                if before > MOST_TOKENS_BYTES || self.bytes <= MOST_TOKENS_BYTES {
                    return;
                }
                SetError::TooLarge { bytes: self.bytes }
            }
        };
        sink.push(Diagnostic::new(span, error.to_string()));
    }
}
