//! `[witnessing]`: who cosigns the log's head, and how many must.

use lar_core::token::Token;
use lar_runtime::witness::Witnessing;
use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::model::WitnessingTable;
use super::read::{Reader, find};

impl Reader<'_> {
    pub(super) fn witnessing(&mut self, root: &DeTable<'_>) -> Option<Witnessing> {
        let table: WitnessingTable = self.part(root, "witnessing")?;
        let timeout = match &table.timeout {
            Some(timeout) => Some(self.duration(timeout, &["witnessing", "timeout"], root)?),
            None => None,
        };
        let named = table.witness.into_iter().map(|witness| (witness.url, witness.key));
        match Witnessing::new(named, table.required, timeout) {
            Ok(witnessing) => Some(witnessing),
            Err(error) => self.wrong(root, error.field, &error.message),
        }
    }

    fn wrong(&mut self, root: &DeTable<'_>, key: &str, why: &str) -> Option<Witnessing> {
        let span = find(root, &["witnessing", key]).map(Spanned::span);
        self.sink.push(Diagnostic::new(span, format!("`{key}`: {why}")));
        None
    }

    /// Refuses tokens that demand witnesses where none are named.
    pub(super) fn need_witnesses(
        &mut self,
        root: &DeTable<'_>,
        tokens: &[Token],
        candidates: &[Token],
    ) {
        let demands = |token: &&Token| token.witness().is_some();
        let Some(token) = tokens.iter().chain(candidates).find(demands) else { return };
        // Where the table is there and wrong, that was told.
        if root.get("witnessing").is_none() {
            let message = format!(
                "token `{}` demands witnesses (`witness`) and the manifest names none",
                token.name()
            );
            let help = "name them in `[witnessing]`; `lar witness` is such a server";
            self.sink.push(Diagnostic::new(None, message).help(help));
        }
    }
}
