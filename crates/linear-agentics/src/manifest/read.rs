//! From text to a manifest: syntax, then shape, then meaning. Each step tells all it can before the
//! reader gives up.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lar_core::budget::Budget;
use lar_core::json::Digest;
use lar_core::ledger::{GrantId, LedgerId};
use lar_core::scope::profile::Profiles;
use lar_core::time::Timestamp;
use lar_core::token::Token;
use lar_runtime::confine::Tier;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Sink};
use super::hide::{hide_lines, hide_values};
use super::model::{
    AgentTable, ApprovalTable, BudgetTable, ConfinementTable, GrantTable, NegotiationTable,
    PriceTable, TierName,
};
use super::names::Names;
use super::profiles::Load;
use super::value::{DurationText, duration, micro_usd, shown};
use super::walk::{Place, Walker};
use super::{
    AgentSettings, DEFAULT_APPROVAL_TIMEOUT, DEFAULT_MAX_REQUESTS, DEFAULT_MODEL, GrantSettings,
    MAX_BYTES, Manifest, ManifestError, ModelPrice, build, schema,
};
use crate::grant::GrantChoice;

/// How many syntax errors are told: after the first few, they are echoes.
const SYNTAX_ERRORS: usize = 5;

pub(super) fn read_bytes(
    bytes: &[u8],
    base: &Path,
    load: Load<'_>,
) -> Result<Manifest, ManifestError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => read(text, base, load),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let good = String::from_utf8_lossy(good);
            let mut sink = Sink::default();
            hide_lines(&good, &mut sink);
            let place = good.len()..good.len();
            sink.push(
                Diagnostic::new(place, "the manifest is not UTF-8 from here on")
                    .help("save it with the encoding UTF-8"),
            );
            Err(refused(sink, &good))
        }
    }
}

pub(super) fn read(text: &str, base: &Path, load: Load<'_>) -> Result<Manifest, ManifestError> {
    let mut sink = Sink::default();
    if text.len() > MAX_BYTES {
        let message = format!("the manifest has more than the {MAX_BYTES} bytes that are read");
        sink.push(Diagnostic::new(None, message));
        return Err(refused(sink, ""));
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    hide_values(root.get_ref(), text, &mut sink);
    if !errors.is_empty() {
        hide_lines(text, &mut sink);
        for error in errors.iter().take(SYNTAX_ERRORS) {
            sink.push(Diagnostic::new(error.span(), error.message()));
        }
        return Err(refused(sink, text));
    }
    let profiles = Arc::default();
    let mut reader = Reader { sink: &mut sink, text, base, load, profiles, not_the_runner: false };
    let manifest = reader.root(&root);
    match manifest {
        Some(manifest) if sink.count() == 0 => Ok(manifest),
        _ => Err(refused(sink, text)),
    }
}

fn refused(mut sink: Sink, text: &str) -> ManifestError {
    if sink.count() == 0 {
        sink.push(Diagnostic::new(None, "the manifest can't be used"));
    }
    match sink.finish(text) {
        Err(error) => error,
        Ok(()) => ManifestError::default(),
    }
}

/// What reading needs at every step.
pub(super) struct Reader<'r> {
    pub sink: &'r mut Sink,
    pub text: &'r str,
    pub base: &'r Path,
    /// Reads the files that the manifest names.
    pub load: Load<'r>,
    /// What commands are judged by.
    pub profiles: Arc<Profiles>,
    /// Whether whoever starts the run can't approve, where a token doesn't say.
    pub not_the_runner: bool,
}

impl Reader<'_> {
    fn root(&mut self, root: &Spanned<DeTable<'_>>) -> Option<Manifest> {
        let schema = schema::shared();
        let table = root.get_ref();
        let place = Place::new("root", "the manifest");
        self.walker().keys(schema, table, root.span(), &place);
        let agent: Option<AgentTable> = self.part(table, "agent");
        let budget = self.part(table, "budget").and_then(|budget| self.budget(&budget, table));
        let approval: Option<ApprovalTable> = self.part(table, "approval");
        let approval_timeout =
            match approval.as_ref().and_then(|approval| approval.timeout.as_ref()) {
                Some(timeout) => self.duration(timeout, &["approval", "timeout"], table),
                None => Some(DEFAULT_APPROVAL_TIMEOUT),
            };
        let approvers = self.approvers(approval.as_ref(), table);
        self.not_the_runner =
            approval.and_then(|approval| approval.not_the_runner).unwrap_or(false);
        let grant = match self.part::<GrantTable>(table, "grant") {
            Some(grant) => Some(self.grant(&grant, table)?),
            None => None,
        };
        let negotiation: Option<NegotiationTable> = self.part(table, "negotiation");
        let confinement: Option<ConfinementTable> = self.part(table, "confinement");
        let witnessing = self.witnessing(table);
        let (commit, authority) = self.audit(table);
        let prices = self.prices(table);
        self.profiles = self.profiles(table);
        let mut names = Names::default();
        let tokens = self.tokens(table, "token", &mut names);
        let candidates = self.tokens(table, "candidate", &mut names);
        let agent = agent.unwrap_or_default();
        if witnessing.is_none() {
            self.need_witnesses(table, &tokens, &candidates);
        }
        let approvers = approvers?;
        let asking = |token: Token| match &approvers {
            Some(approvers) => token.or_approvers(approvers),
            None => token,
        };
        let tokens = tokens.into_iter().map(asking).collect();
        let candidates = candidates.into_iter().map(asking).collect();
        Some(Manifest {
            agent: AgentSettings {
                model: agent.model.unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
                system: agent.system,
                task: agent.task,
            },
            budget: budget?,
            grant,
            approval_timeout: approval_timeout?,
            approvers,
            max_requests: negotiation
                .and_then(|negotiation| negotiation.max_requests)
                .unwrap_or(DEFAULT_MAX_REQUESTS),
            min_tier: confinement.and_then(|confinement| confinement.min_tier).map(
                |tier| match tier {
                    TierName::A => Tier::A,
                    TierName::B => Tier::B,
                    TierName::C => Tier::C,
                },
            ),
            witnessing,
            commit,
            authority,
            tokens,
            candidates,
            prices,
            text: self.text.to_owned(),
            digest: Digest::of(self.text.as_bytes()),
            base: self.base.to_owned(),
        })
    }

    fn grant(&mut self, grant: &GrantTable, root: &DeTable<'_>) -> Option<GrantSettings> {
        let id = GrantId::new(grant.id.as_str()).map_err(|error| ("id", error.to_string()));
        let ledger = grant.ledger.as_deref().map(LedgerId::new).transpose();
        let ledger = ledger.map_err(|error| ("ledger", error.to_string()));
        let expires = grant.expires.as_ref().map(|end| end.0.parse::<Timestamp>()).transpose();
        let expires = expires.map_err(|error| ("expires", error.to_string()));
        let mut fail = |(key, why): (&str, String)| {
            let span = find(root, &["grant", key]).map(Spanned::span);
            self.sink.push(Diagnostic::new(span, format!("`{key}`: {why}")));
        };
        match (id, ledger, expires) {
            (Ok(id), Ok(ledger), Ok(expires)) => {
                Some(GrantSettings { choice: GrantChoice { id, ledger }, expires })
            }
            (id, ledger, expires) => {
                [id.err(), ledger.err(), expires.err()].into_iter().flatten().for_each(&mut fail);
                None
            }
        }
    }

    pub(super) fn walker(&mut self) -> Walker<'_> {
        Walker { schema: schema::shared(), sink: self.sink }
    }

    /// One table of the root, if it is there and its shape is right.
    pub(super) fn part<T: for<'de> Deserialize<'de>>(
        &mut self,
        root: &DeTable<'_>,
        key: &'static str,
    ) -> Option<T> {
        let value = root.get(key)?;
        let before = self.sink.count();
        if let Some(schema) = property(key) {
            self.walker().value(schema, value, key, &Place::new(key, format!("`[{key}]`")));
        }
        if self.sink.count() > before { None } else { self.take(value) }
    }

    /// The value as its type. The shape was judged before, so an error here is one that the schema
    /// couldn't tell.
    pub fn take<T: for<'de> Deserialize<'de>>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<T> {
        let mut owned = value.clone();
        if let DeValue::Table(table) = owned.get_mut() {
            table.remove("kind");
        }
        match T::deserialize(owned.into_deserializer()) {
            Ok(value) => Some(value),
            Err(error) => {
                let error: toml::de::Error = error;
                let span = error.span().unwrap_or_else(|| value.span());
                self.sink.push(Diagnostic::new(span, error.message()));
                None
            }
        }
    }

    fn budget(&mut self, budget: &BudgetTable, root: &DeTable<'_>) -> Option<Budget> {
        let timeout = self.duration(&budget.timeout, &["budget", "timeout"], root);
        let cost = match budget.max_cost_usd {
            Some(_) => Some(self.dollars(find(root, &["budget", "max_cost_usd"])?)?),
            None => None,
        };
        Some(Budget {
            max_steps: budget.max_steps,
            timeout: timeout?,
            max_tokens: budget.max_tokens,
            max_cost_micro_usd: cost,
        })
    }

    pub(super) fn duration(
        &mut self,
        text: &DurationText,
        at: &[&str],
        root: &DeTable<'_>,
    ) -> Option<Duration> {
        let key = at.last().copied().unwrap_or_default();
        match duration(&text.0) {
            Ok(duration) => Some(duration),
            Err(why) => {
                let span = find(root, at).map(Spanned::span);
                self.sink.push(Diagnostic::new(span, format!("`{key}`: {why}")));
                None
            }
        }
    }

    fn dollars(&mut self, value: &Spanned<DeValue<'_>>) -> Option<u64> {
        let amount = match value.get_ref() {
            DeValue::Float(float) => micro_usd(float.as_str()),
            DeValue::Integer(integer) if integer.radix() == 10 => micro_usd(integer.as_str()),
            _ => Err("write the amount as a decimal number such as `1.50`".to_owned()),
        };
        match amount {
            Ok(amount) => Some(amount),
            Err(why) => {
                self.sink.push(Diagnostic::new(value.span(), why));
                None
            }
        }
    }

    fn prices(&mut self, root: &DeTable<'_>) -> Vec<ModelPrice> {
        let Some(schema) = property("price").and_then(|schema| schema.get("items")) else {
            return Vec::new();
        };
        let mut prices = Vec::new();
        let mut seen: HashMap<String, Range<usize>> = HashMap::new();
        for item in self.items(root, "price") {
            let before = self.sink.count();
            self.walker().value(schema, item, "price", &Place::new("price", "`[[price]]`"));
            if self.sink.count() > before {
                continue;
            }
            let (DeValue::Table(table), Some(price)) =
                (item.get_ref(), self.take::<PriceTable>(item))
            else {
                continue;
            };
            let span = table.get("model").map_or_else(|| item.span(), Spanned::span);
            if let Some(first) = seen.insert(price.model.clone(), span.clone()) {
                let message = format!("`{}` has two prices", shown(&price.model));
                let also = Some((first, "the first one"));
                self.sink.push(Diagnostic { also, ..Diagnostic::new(span, message) });
            }
            let mut amount = |key: &str| table.get(key).map(|value| self.dollars(value));
            let input = amount("input_per_mtok_usd").flatten();
            let output = amount("output_per_mtok_usd").flatten();
            let cache_read = amount("cache_read_per_mtok_usd").unwrap_or(input);
            let quarter_more = input.map(|input| input.saturating_add(input.div_ceil(4)));
            let cache_write = amount("cache_write_per_mtok_usd").unwrap_or(quarter_more);
            if let (Some(input), Some(output), Some(cache_read), Some(cache_write)) =
                (input, output, cache_read, cache_write)
            {
                prices.push(ModelPrice {
                    model: price.model,
                    input,
                    output,
                    cache_read,
                    cache_write,
                });
            }
        }
        prices
    }

    /// The tables of an array, which is told when it is none.
    pub(super) fn items<'t, 'i>(
        &mut self,
        root: &'t DeTable<'i>,
        key: &'static str,
    ) -> Vec<&'t Spanned<DeValue<'i>>> {
        let Some(value) = root.get(key) else {
            return Vec::new();
        };
        if let DeValue::Array(items) = value.get_ref() {
            return items.iter().collect();
        }
        if let Some(schema) = property(key) {
            self.walker().value(schema, value, key, &Place::new("root", "the manifest"));
        }
        Vec::new()
    }

    fn tokens(&mut self, root: &DeTable<'_>, key: &'static str, names: &mut Names) -> Vec<Token> {
        let Some(schema) = property(key).and_then(|schema| schema.get("items")) else {
            return Vec::new();
        };
        let mut tokens = Vec::new();
        for (index, item) in self.items(root, key).into_iter().enumerate() {
            let name = match item.get_ref() {
                DeValue::Table(table) => table.get("name"),
                _ => None,
            };
            let name = name.and_then(|name| Some((name.get_ref().as_str()?, name.span())));
            let label = match &name {
                Some((name, _)) if !name.is_empty() => format!("{key} `{}`", shown(name)),
                _ => format!("`[[{key}]]` number {}", index + 1),
            };
            let before = self.sink.count();
            self.walker().value(schema, item, key, &Place::new("token", label.clone()));
            let clean = self.sink.count() == before;
            let token = if clean { build::token(self, item, &label) } else { None };
            if let Some((name, span)) = name {
                names.add(name, token.as_ref(), span, self.sink);
            }
            tokens.extend(token);
        }
        tokens
    }
}

/// The schema of a key of the root.
pub(super) fn property(key: &str) -> Option<&'static Value> {
    schema::shared().get("properties").and_then(|properties| properties.get(key))
}

/// The value at a path of keys.
pub(super) fn find<'t, 'i>(root: &'t DeTable<'i>, at: &[&str]) -> Option<&'t Spanned<DeValue<'i>>> {
    let (key, rest) = at.split_first()?;
    let value = root.get(*key)?;
    match (rest, value.get_ref()) {
        ([], _) => Some(value),
        (rest, DeValue::Table(table)) => find(table, rest),
        _ => None,
    }
}
