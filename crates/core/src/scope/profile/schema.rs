//! The form of a profile's text: what a file in `profiles/` may say. Unknown keys are refused, so that a
//! misspelt one doesn't silently loosen anything.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Effect;

/// A file: one table for each program.
pub(super) type File = BTreeMap<String, ProgramTable>;

/// Declares a table with what programs and subcommands have in common (a flattened struct would lose the
/// refusal of unknown keys), then its own.
macro_rules! node_table {
    ($(#[$about:meta])* $table:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $table {
            $($(#[$meta])* pub $field: $type,)*
            /// Its flags, by what they do.
            pub flags: FlagTable,
            /// Sets of flags that it has as well.
            pub uses: Vec<String>,
            /// Whether a flag that isn't listed is harmless.
            pub unlisted: Option<Unlisted>,
            /// The kinds of its operands, in their order.
            pub operands: Option<String>,
            /// The kinds of its operands after `--`, where they differ.
            pub after_dashes: Option<String>,
            /// Flags that take the place of the first operand, as `grep -e` takes that of the pattern.
            pub first_operand_by: Vec<String>,
            /// Options end after so many operands; without it they may follow operands.
            pub options_end_after: Option<usize>,
            /// Whether the place of an option among the other words decides what it means, so that none
            /// may stand before what a prefix names.
            pub ordered: bool,
            /// Names of its harmless flags that may stand before what a prefix names: before a subcommand
            /// or an operand. Subcommands have them too where they don't list a flag of that name.
            pub before: String,
            /// Why a prefix that names no operand here amounts to nearly anything.
            pub wide: Option<String>,
            /// How many operands a prefix must name not to be wide; one where nothing is said.
            pub wide_below: Option<usize>,
        }

        impl $table {
            /// What it has in common with every other.
            pub fn node(&self) -> NodeTable<'_> {
                NodeTable {
                    flags: &self.flags,
                    uses: &self.uses,
                    unlisted: self.unlisted,
                    operands: self.operands.as_deref(),
                    after_dashes: self.after_dashes.as_deref(),
                    first_operand_by: &self.first_operand_by,
                    options_end_after: self.options_end_after,
                    ordered: self.ordered,
                    before: &self.before,
                    wide: self.wide.as_deref(),
                    wide_below: self.wide_below.unwrap_or(1),
                }
            }
        }
    };
}

/// What a program and a subcommand have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeTable<'t> {
    pub flags: &'t FlagTable,
    pub uses: &'t [String],
    pub unlisted: Option<Unlisted>,
    pub operands: Option<&'t str>,
    pub after_dashes: Option<&'t str>,
    pub first_operand_by: &'t [String],
    pub options_end_after: Option<usize>,
    pub ordered: bool,
    pub before: &'t str,
    pub wide: Option<&'t str>,
    pub wide_below: usize,
}

node_table! {
    /// What is known of one program.
    ProgramTable {
        /// Other programs that read their arguments alike.
        names: Vec<String>,
        /// Other names of this very program, so that what `before` says holds for them too.
        aliases: Vec<String>,
        /// How its arguments are read.
        syntax: Syntax,
        /// Sets of flags that commands take in by `uses`.
        sets: BTreeMap<String, FlagTable>,
        /// Rules for values, by the name that flags and operands give them.
        values: BTreeMap<String, ValueTable>,
        /// Subcommands of which nothing more is to be said, by what they do.
        subcommands: BTreeMap<Effect, Vec<String>>,
        /// Subcommands by their path, such as `rollout status`.
        command: BTreeMap<String, CommandTable>,
        /// Whether a word where a subcommand is expected may be one that isn't listed.
        unlisted_commands: Unlisted,
        /// Words that are neither flags nor operands, such as the parentheses of `find`.
        ignored: Vec<String>,
        /// Flags that end the command where they are all that a prefix names, though the program goes on: after
        /// `ruby -v` no script may follow.
        alone: Vec<String>,
        /// Patterns of words that say that something is removed or stopped: after one of them and an operand
        /// that the prefix names, no further operand may follow, and no option that isn't listed.
        removing: Vec<String>,
        /// The same where options name the one thing that is removed, so that their values may follow.
        removing_one: Vec<String>,
        /// Patterns of options that name what is removed, and so may follow though they aren't listed. They take
        /// a value.
        naming: Vec<String>,
        /// Whether options take several values, so that a word behind one adds to it.
        lists: bool,
        /// Whether `-n=x` is `-n x`, as pflag, clap and argparse read it; to getopt the value is `=x`.
        assigns: bool,
        /// Words that turn a flag without a value off where they follow it, as npm's `false`.
        switches: Vec<String>,
        /// Options with which a new set of options begins, so that none may change its place.
        anew: String,
        /// Whether the program takes options behind operands as well, and in any order, so that those of a
        /// prefix may stand there.
        interspersed: bool,
        /// Whether the program's own options mean the same before and behind its subcommands.
        persistent: bool,
        /// Words that mean the same as the first operand or the kind before its `/`: one list for each meaning.
        synonyms: Vec<String>,
        /// The subcommands whose first operand is such a kind; of others it is one before a `/`.
        synonyms_in: Vec<String>,
        /// Options that are harmless beside another that the prefix names, by the other: `-i` beside `rpm -q`.
        beside: BTreeMap<String, String>,
        /// What names may end in without becoming others, as `.service` for units.
        suffix: String,
        /// What the program needs to work in confinement.
        needs: Needs,
        /// Environment variables that make it safe; the runtime sets them.
        settings: BTreeMap<String, String>,
        /// Other programs that it starts by itself.
        also_runs: Vec<String>,
    }
}

node_table! {
    /// What is known of one subcommand.
    CommandTable {
        /// Other names of its last word.
        names: Vec<String>,
        /// What it does beyond the program's name; such a subcommand must be named by the prefix.
        does: Option<Effect>,
    }
}

/// Flags in a list of words: `-n|--namespace=` takes a value, `--color?` may have one attached, `--arg==`
/// takes two; what follows the mark names the kind of the value, and a final `+` says that it may be given
/// several times with several values. `-#` is any number, and a name that ends in `*` is a beginning.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlagTable {
    #[serde(default)]
    pub harmless: String,
    /// By what they choose; the flags of one choice exclude each other. A flag may stand in several.
    #[serde(default)]
    pub target: BTreeMap<String, String>,
    #[serde(default)]
    pub reads: String,
    #[serde(default)]
    pub writes: String,
    #[serde(default)]
    pub runs: String,
    #[serde(default)]
    pub peer: String,
    #[serde(default)]
    pub credential: String,
    #[serde(default)]
    pub identity: String,
    #[serde(default)]
    pub config: String,
    #[serde(default)]
    pub widens: String,
}

/// A rule for values. Patterns compare without regard to ASCII case; `*` stands for any text.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueTable {
    /// What is allowed; everything where it is empty.
    #[serde(default)]
    pub allow: Vec<String>,
    /// What is refused in any case.
    #[serde(default)]
    pub refuse: Vec<String>,
    /// What may not stand in the rest of a value of which the prefix names the beginning.
    #[serde(default)]
    pub ends_at: Vec<String>,
    /// What is refused whatever `except` says.
    #[serde(default)]
    pub never: Vec<String>,
    /// What isn't, all the same.
    #[serde(default)]
    pub except: Vec<String>,
    /// Whether the rule holds only for operands that follow one that the prefix names.
    #[serde(default)]
    pub if_named: bool,
    /// An operand is a name, this character and a value, and a name that the prefix gives isn't given again.
    pub once: Option<char>,
    /// What another value would do.
    pub does: Option<Effect>,
    /// The value is a list, each part of which is judged: the character between parts.
    pub separator: Option<char>,
}

/// Whether what isn't listed is harmless.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unlisted {
    /// It is refused unless the prefix names it.
    #[default]
    Refused,
    /// It is allowed.
    Harmless,
}

/// How a program reads its arguments.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Syntax {
    /// getopt_long: clustered short flags, long flags that may be abbreviated.
    #[default]
    Gnu,
    /// The same without abbreviations (pflag, clap, click).
    Exact,
    /// One dash or two, never clustered, never abbreviated (Go's flag package, find, openssl, java).
    Single,
    /// Any number of dashes, abbreviated, clustered where no long flag has the name (npm's nopt).
    Nopt,
    /// getopt_long in which `_` is `-`, and names may carry `skip-`, `loose-` and the like (MySQL).
    Mysql,
    /// getopt_long, and a first word without a dash is a bundle of short flags.
    Tar,
    /// Words without a dash are bundles of BSD flags.
    Ps,
}

/// What a program needs to work in confinement.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Environment variables that it reads.
    #[serde(default)]
    pub env: Vec<String>,
    /// Files and directories that it reads; `~/` begins at the user's home directory. `@aws`, `@gcloud`
    /// and `@azure` stand for the one profile or account that the command names.
    #[serde(default)]
    pub files: Vec<String>,
    /// Addresses that it reaches, as `host:port`; `*.` may begin the host. `@kubeconfig`, `@arguments` and
    /// `@config` stand for addresses that are known only when it runs.
    #[serde(default)]
    pub network: Vec<String>,
}

impl Needs {
    /// The addresses, and the accounts among the files, that a command needs. `@aws:s3://` is needed by
    /// commands with a word that begins so.
    pub fn places<'n>(&'n self, argv: &'n [String]) -> impl Iterator<Item = &'n str> {
        let accounts = self.files.iter().filter(|file| file.starts_with('@'));
        self.network.iter().chain(accounts).filter_map(|need| match need.split_once(':') {
            Some((account, beginning)) if account.starts_with('@') => {
                argv.iter().any(|word| word.starts_with(beginning)).then_some(account)
            }
            _ => Some(need.as_str()),
        })
    }

    /// The files themselves.
    pub fn paths(&self) -> impl Iterator<Item = &String> {
        self.files.iter().filter(|file| !file.starts_with('@') && !self.is_kubeconfig(file))
    }

    /// Whether a file is the kubeconfig, of which a program gets one context.
    pub(in crate::scope) fn is_kubeconfig(&self, file: &str) -> bool {
        file.starts_with("~/.kube/") && self.network.iter().any(|need| need == "@kubeconfig")
    }
}

impl FlagTable {
    /// No flags.
    pub(super) const EMPTY: Self = Self {
        harmless: String::new(),
        target: BTreeMap::new(),
        reads: String::new(),
        writes: String::new(),
        runs: String::new(),
        peer: String::new(),
        credential: String::new(),
        identity: String::new(),
        config: String::new(),
        widens: String::new(),
    };
}
