//! `[witnessing]`: who cosigns the log's head, and how many must.

use std::time::Duration;

use lar_core::audit::note::{KeyKind, NoteKey};
use lar_core::token::Token;
use lar_runtime::witness::{Witness, Witnessing};
use toml::Spanned;
use toml::de::DeTable;
use url::Url;

use super::diagnostic::Diagnostic;
use super::model::{WitnessTable, WitnessingTable};
use super::read::{Reader, find};

/// How long witnesses may take when the manifest doesn't say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

impl Reader<'_> {
    pub(super) fn witnessing(&mut self, root: &DeTable<'_>) -> Option<Witnessing> {
        let table: WitnessingTable = self.part(root, "witnessing")?;
        let timeout = match &table.timeout {
            Some(timeout) => self.duration(timeout, &["witnessing", "timeout"], root)?,
            None => DEFAULT_TIMEOUT,
        };
        let read = table.witness.iter().map(witness).collect::<Result<Vec<_>, _>>();
        let witnesses = match read.and_then(distinct) {
            Ok(witnesses) => witnesses,
            Err(why) => return self.wrong(root, "witness", &why),
        };
        let required = table.required.unwrap_or(witnesses.len());
        if required > witnesses.len() {
            let why = format!("{required} are required and {} named; name more", witnesses.len());
            return self.wrong(root, "required", &why);
        }
        Some(Witnessing { witnesses, required, timeout })
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

fn witness(table: &WitnessTable) -> Result<Witness, String> {
    let url = Url::parse(&table.url).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let url = url.ok_or("a witness's `url` is http or https, without user, query and fragment")?;
    let key: NoteKey = table.key.parse().map_err(|error| format!("{error}"))?;
    if key.kind() != KeyKind::Cosignature {
        return Err(format!("`{key}` is a log's key; `lar witness init` prints a witness's"));
    }
    Ok(Witness { url, key })
}

/// One witness under two names is one witness.
fn distinct(witnesses: Vec<Witness>) -> Result<Vec<Witness>, String> {
    for (at, witness) in witnesses.iter().enumerate() {
        let same = |other: &Witness| other.key.public() == witness.key.public();
        if witnesses.iter().take(at).any(same) {
            return Err(format!("the key of `{}` stands there twice", witness.key.name()));
        }
    }
    Ok(witnesses)
}
