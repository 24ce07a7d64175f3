//! From a profile's text to what is asked when a command is judged.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::kind::{Kind, ValueRule};
use super::schema::{FlagTable, NodeTable, ProgramTable, Unlisted};
use super::{Effect, Flag, Flags, Node, Operand, Profile, Removing, Repeats, Takes};
use crate::json::Digest;

/// Reads the table of one program.
///
/// # Errors
///
/// Says in which entry what is wrong.
pub(super) fn compile(
    name: &str,
    table: &ProgramTable,
    digest: Digest,
    is_shipped: bool,
) -> Result<Profile, String> {
    if !(table.names.is_empty() && table.aliases.is_empty())
        && table.unlisted == Some(Unlisted::Harmless)
    {
        // A flag that is harmless to one program is another thing to its neighbour.
        return Err(format!(
            "[{name}] several programs can't share `unlisted = \"harmless\"`; list the flags, or give each program a table of its own"
        ));
    }
    let values = table
        .values
        .iter()
        .map(|(kind, rule)| ValueRule::new(rule).map(|rule| (kind.as_str(), Arc::new(rule))));
    let mut compiler = Compiler {
        values: values.collect::<Result<_, _>>()?,
        sets: HashMap::new(),
        choices: HashMap::new(),
        next: 0,
    };
    for (set, flags) in &table.sets {
        let flags = compiler.flags(flags).map_err(|e| format!("[{name}.sets.{set}] {e}"))?;
        compiler.sets.insert(set, Arc::new(flags));
    }
    let node = table.node();
    let mut root = compiler.node(&node, None).map_err(|e| format!("[{name}] {e}"))?;
    let mut paths: BTreeMap<&str, Draft<'_>> = BTreeMap::new();
    for (effect, listed) in &table.subcommands {
        for path in listed {
            paths.insert(path, Draft { does: Some(*effect), table: None, names: &[] });
        }
    }
    for (path, command) in &table.command {
        let listed = paths.get(path.as_str()).and_then(|draft| draft.does);
        let does = command.does.or(listed);
        let table = Some(command.node());
        paths.insert(path, Draft { does, table, names: &command.names });
    }
    // A path sorts before those that it begins, so that a parent is there before its children.
    for (path, draft) in paths {
        let words: Vec<&str> = path.split(' ').collect();
        compiler
            .insert(&mut root, &words, &draft)
            .map_err(|error| format!("[{name}.command.\"{path}\"] {error}"))?;
    }
    Ok(Profile {
        name: name.to_owned(),
        digest,
        is_shipped,
        syntax: table.syntax,
        unlisted_commands: table.unlisted_commands,
        ignored: table.ignored.clone(),
        lists: table.lists,
        assigns: table.assigns,
        switches: table.switches.clone(),
        anew: table.anew.clone(),
        interspersed: table.interspersed,
        persistent: table.persistent,
        synonyms: table
            .synonyms
            .iter()
            .flat_map(|list| {
                let mut words = list.split_ascii_whitespace();
                let first = words.next().unwrap_or_default().to_owned();
                words.map(move |word| (word.to_owned(), first.clone()))
            })
            .collect(),
        synonyms_in: table.synonyms_in.clone(),
        beside: table.beside.clone(),
        suffix: table.suffix.clone(),
        alone: table.alone.clone(),
        removing: Removing {
            all: table.removing.clone(),
            one: table.removing_one.clone(),
            naming: table.naming.clone(),
        },
        root,
        needs: table.needs.clone(),
        settings: table.settings.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        also_runs: table.also_runs.clone(),
        aliases: table.aliases.clone(),
        also: None,
    })
}

struct Draft<'t> {
    does: Option<Effect>,
    table: Option<NodeTable<'t>>,
    names: &'t [String],
}

struct Compiler<'t> {
    values: HashMap<&'t str, Arc<ValueRule>>,
    sets: HashMap<&'t str, Arc<Flags>>,
    /// The number of each choice that flags make: the same for a program and its subcommands.
    choices: HashMap<&'t str, u16>,
    next: u16,
}

impl<'t> Compiler<'t> {
    fn insert(&mut self, at: &mut Node, path: &[&str], draft: &Draft<'t>) -> Result<(), String> {
        let Some((word, rest)) = path.split_first() else {
            return Ok(());
        };
        if word.is_empty() {
            return Err("a path is words with one space between".to_owned());
        }
        if !rest.is_empty() {
            let child = match at.commands.get(*word) {
                Some(child) => Arc::clone(child),
                None => Arc::new(self.node(&plain(), Some(at))?),
            };
            let mut child = Arc::unwrap_or_clone(child);
            self.insert(&mut child, rest, draft)?;
            at.commands.insert((*word).to_owned(), Arc::new(child));
            return Ok(());
        }
        let table = match draft.table {
            Some(table) => table,
            None => plain(),
        };
        let mut node = self.node(&table, Some(at))?;
        node.does = draft.does.unwrap_or(Effect::Harmless);
        if node.does != Effect::Harmless && !node.takes_operands {
            // What changes something works on what the prefix names, where it names anything.
            for operand in &mut node.operands {
                if matches!(operand.repeats, Repeats::Always) {
                    operand.repeats = Repeats::UnlessNamed;
                }
            }
        }
        let node = Arc::new(node);
        for name in draft.names.iter().map(String::as_str).chain([*word]) {
            at.commands.insert(name.to_owned(), Arc::clone(&node));
        }
        Ok(())
    }

    fn node(&mut self, table: &NodeTable<'t>, parent: Option<&Node>) -> Result<Node, String> {
        let mut layers = vec![Arc::new(self.flags(table.flags)?)];
        for set in table.uses {
            let flags = self.sets.get(set.as_str());
            layers.push(Arc::clone(flags.ok_or_else(|| format!("there is no set `{set}`"))?));
        }
        layers.extend(parent.iter().flat_map(|parent| parent.layers.iter().cloned()));
        let operands = match (table.operands, parent) {
            (Some(spec), _) => self.operands(spec)?,
            (None, Some(parent)) => parent.operands.clone(),
            (None, None) => vec![Operand { kind: Kind::Any, repeats: Repeats::UnlessNamed }],
        };
        let after_dashes = match (table.after_dashes, parent) {
            (Some(spec), _) => Some(self.operands(spec)?),
            (None, Some(parent)) => parent.after_dashes.clone(),
            (None, None) => None,
        };
        let mut node = Node {
            does: Effect::Harmless,
            layers,
            unlisted: table.unlisted.or(parent.map(|p| p.unlisted)).unwrap_or_default(),
            takes_operands: table.operands.is_some(),
            operands,
            after_dashes,
            first_operand_by: Vec::new(),
            options_end_after: table
                .options_end_after
                .or(parent.map(|parent| parent.options_end_after))
                .unwrap_or(usize::MAX),
            ordered: table.ordered || parent.is_some_and(|parent| parent.ordered),
            before: Vec::new(),
            dashes: table.before.split_ascii_whitespace().any(|name| name == "--"),
            wide: table.wide.map(|why| (why.to_owned(), table.wide_below)),
            commands: HashMap::new(),
        };
        node.before = before(&node, table.before, parent)?;
        for name in table.first_operand_by {
            let flag = node.flag(name).ok_or_else(|| format!("there is no flag `{name}`"))?;
            node.first_operand_by.push(flag.id);
        }
        if table.first_operand_by.is_empty()
            && table.operands.is_none()
            && let Some(parent) = parent
        {
            node.first_operand_by.clone_from(&parent.first_operand_by);
        }
        Ok(node)
    }

    fn flags(&mut self, table: &'t FlagTable) -> Result<Flags, String> {
        let mut flags = Flags::default();
        for (effect, list) in [
            (Effect::Harmless, &table.harmless),
            (Effect::Reads, &table.reads),
            (Effect::Writes, &table.writes),
            (Effect::Runs, &table.runs),
            (Effect::Peer, &table.peer),
            (Effect::Credential, &table.credential),
            (Effect::Identity, &table.identity),
            (Effect::Config, &table.config),
            (Effect::Widens, &table.widens),
        ] {
            for word in list.split_ascii_whitespace() {
                let choice = self.number()?;
                self.flag(word, effect, (choice, false), &mut flags)?;
            }
        }
        for (name, list) in &table.target {
            // Flags that stand for operands narrow each other; all others of one choice exclude each other.
            let selects = name == "operands";
            let mut choice = match self.choices.get(name.as_str()) {
                Some(choice) if !selects => *choice,
                _ => self.number()?,
            };
            self.choices.insert(name, choice);
            for word in list.split_ascii_whitespace() {
                self.flag(word, Effect::Target, (choice, selects), &mut flags)?;
                if selects {
                    choice = self.number()?;
                }
            }
        }
        join_opposites(&mut flags);
        Ok(flags)
    }

    fn flag(
        &mut self,
        word: &str,
        effect: Effect,
        (choice, selects): (u16, bool),
        flags: &mut Flags,
    ) -> Result<(), String> {
        // `-?` is a name.
        let start = if word.starts_with("-?") { 2 } else { 0 };
        let mark = word.get(start..).and_then(|rest| rest.find(['=', '?']));
        let end = mark.map_or(word.len(), |at| start + at);
        let (names, mark) = word.split_at_checked(end).unwrap_or((word, ""));
        let repeats = mark.ends_with('+');
        let mark = mark.trim_end_matches('+');
        let (takes, kind) = match mark.as_bytes() {
            [] => (Takes::None, ""),
            [b'=', b'='] => (Takes::Two, ""),
            [b'=', b';'] => (Takes::UntilSemicolon, ""),
            [b'?', ..] => (Takes::Attached, mark.trim_start_matches('?')),
            _ => (Takes::One, mark.trim_start_matches('=')),
        };
        if effect == Effect::Target && names.split('|').any(|name| flags.exact.contains_key(name)) {
            // It makes another choice besides.
            for name in names.split('|') {
                let flag = flags.exact.get_mut(name);
                flag.ok_or_else(|| format!("`{word}` has other names in another choice"))?
                    .choices
                    .push(choice);
            }
            return Ok(());
        }
        let ends_options = kind == "module" || kind.starts_with("last-");
        let kind = if kind.is_empty() { Kind::Any } else { self.kind(kind)? };
        let id = self.number()?;
        let choices = vec![choice];
        let flag = Flag { id, choices, effect, takes, repeats, ends_options, selects, kind };
        for name in names.split('|') {
            if name.is_empty() {
                return Err(format!("`{word}` has an empty name"));
            }
            let twice = match name.strip_suffix('*') {
                Some(beginning) => {
                    flags.beginnings.push((beginning.to_owned(), flag.clone()));
                    false
                }
                None => flags.exact.insert(name.to_owned(), flag.clone()).is_some(),
            };
            if twice {
                return Err(format!("flag `{name}` stands there twice"));
            }
        }
        Ok(())
    }

    fn operands(&self, spec: &str) -> Result<Vec<Operand>, String> {
        let one = |word: &str| {
            let (kind, repeats) = if let Some(kind) = word.strip_suffix("...") {
                (kind, Repeats::UnlessNamed)
            } else if let Some(kind) = word.strip_suffix('*') {
                (kind, Repeats::Always)
            } else {
                (word, Repeats::Once)
            };
            Ok(Operand { kind: self.kind(kind)?, repeats })
        };
        spec.split_ascii_whitespace().map(one).collect()
    }

    fn kind(&self, name: &str) -> Result<Kind, String> {
        if let Some(rule) = self.values.get(name) {
            return Ok(Kind::Rule(Arc::clone(rule)));
        }
        Kind::named(name).ok_or_else(|| format!("there is no kind of value `{name}`"))
    }

    fn number(&mut self) -> Result<u16, String> {
        self.next = self.next.checked_add(1).ok_or("it lists too many flags")?;
        Ok(self.next)
    }
}

/// Lets a flag and the one that turns it off exclude each other where both are listed: the last one counts.
fn join_opposites(flags: &mut Flags) {
    let positive = |name: &str| {
        ["--no-", "--skip-", "-no", "-no-", "--disable-"].iter().find_map(|off| {
            let rest = name.strip_prefix(off)?;
            let dashes = if name.starts_with("--") { "--" } else { "-" };
            flags.exact.get(&format!("{dashes}{rest}"))
        })
    };
    let pairs = flags.exact.iter().filter_map(|(name, off)| {
        let on = positive(name).filter(|on| !on.chooses_with(off))?;
        Some((on.id, off.choices.clone()))
    });
    let pairs: Vec<(u16, Vec<u16>)> = pairs.collect();
    for flag in flags.exact.values_mut() {
        for (_, choices) in pairs.iter().filter(|(id, _)| *id == flag.id) {
            flag.choices.extend(
                choices
                    .iter()
                    .filter(|one| !flag.choices.contains(one))
                    .copied()
                    .collect::<Vec<_>>(),
            );
        }
    }
}

/// The flags that may stand before what a prefix names: those that the table lists, and its parent's where
/// their names mean the same here.
fn before(node: &Node, listed: &str, parent: Option<&Node>) -> Result<Vec<(String, u16)>, String> {
    let mut before: Vec<(String, u16)> = Vec::new();
    for name in parent.iter().flat_map(|parent| &parent.before) {
        let flag = parent.and_then(|parent| parent.listed(&name.0));
        if flag.is_some_and(|flag| flag.id == name.1 && node.has(&name.0, flag)) {
            before.extend(node.listed(&name.0).map(|own| (name.0.clone(), own.id)));
        }
    }
    for name in listed.split([' ', '\n', '|']).filter(|name| !matches!(*name, "" | "--")) {
        let flag = node.listed(name).ok_or_else(|| {
            format!("`before` names `{name}`, which is no flag that is listed; list it by its name")
        })?;
        if flag.effect > Effect::Target || flag.selects || flag.ends_options || node.ordered {
            return Err(format!(
                "`before` names `{name}`, but only what is harmless may stand before what a prefix names"
            ));
        }
        before.push((name.to_owned(), flag.id));
    }
    Ok(before)
}

fn plain() -> NodeTable<'static> {
    static NONE: FlagTable = FlagTable::EMPTY;
    NodeTable {
        flags: &NONE,
        uses: &[],
        unlisted: None::<Unlisted>,
        operands: None,
        after_dashes: None,
        first_operand_by: &[],
        options_end_after: None,
        ordered: false,
        before: "",
        wide: None,
        wide_below: 1,
    }
}
