//! Where profiles are found: those that are shipped, and those that stand beside a manifest.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::compile::compile;
use super::schema::File;
use super::{Node, Profile, family};
use crate::json::Digest;

/// Files of the directory `profiles`, with their names.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../profiles/", $name, ".toml")))),*]
    };
}

/// The shipped files: their names and texts.
const SHIPPED: &[(&str, &str)] = files![
    "archives",
    "build",
    "cloud",
    "containers",
    "files",
    "find",
    "git",
    "http",
    "kubernetes",
    "languages",
    "remote",
    "sql",
    "system",
    "text",
    "tools",
    "wrappers",
];

/// A profile's text that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("profile `{file}`: {message}")]
pub struct ProfileError {
    /// The file, as it was named.
    pub file: String,
    /// What is wrong.
    pub message: String,
}

type Read = Result<HashMap<String, Arc<Profile>>, ProfileError>;

/// The profiles that a set of tokens is judged by: the shipped ones, and those of a manifest before them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profiles {
    own: HashMap<String, Arc<Profile>>,
}

impl Profiles {
    /// The shipped profiles alone.
    pub fn shipped() -> Self {
        Self::default()
    }

    /// Adds the profiles of one file. Where one is shipped for the same program, a command must pass
    /// both, so that an own profile can only tighten; with `replaces` it takes the shipped one's place.
    ///
    /// # Errors
    ///
    /// A text that is no TOML or says what no profile may say.
    pub fn add(&mut self, file: &str, text: &str, replaces: bool) -> Result<(), ProfileError> {
        for (name, profile) in read(file, text, false)? {
            let shipped = match replaces {
                true => None,
                false => shipped(&name)?,
            };
            let profile = Arc::new(Profile { also: shipped, ..Arc::unwrap_or_clone(profile) });
            if self.own.insert(name.clone(), profile).is_some() {
                let message = format!("`{name}` has a profile already; leave one out");
                return Err(ProfileError { file: file.to_owned(), message });
            }
        }
        Ok(())
    }

    /// The profiles that stand beside the manifest, by the programs' names.
    pub fn own(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.own.iter().map(|(name, profile)| (name.as_str(), profile.as_ref()))
    }

    /// The profile of a program, by its name or path. `None` where nothing is known of it.
    ///
    /// # Errors
    ///
    /// A shipped profile that can't be read, which the project's tests rule out.
    pub fn find(&self, program: &str) -> Result<Option<Arc<Profile>>, ProfileError> {
        let whole = program.rsplit('/').next().unwrap_or(program);
        for name in [whole, family(program)] {
            if let Some(profile) = self.own.get(name) {
                return Ok(Some(Arc::clone(profile)));
            }
        }
        for name in [whole, family(program)] {
            if let Some(profile) = shipped(name)? {
                return Ok(Some(profile));
            }
        }
        Ok(None)
    }
}

/// A shipped profile. Its file is read when it is first asked for, so that starting costs nothing.
fn shipped(name: &str) -> Result<Option<Arc<Profile>>, ProfileError> {
    let Some(read) = index().get(name).and_then(|at| shipped_file(*at)) else {
        return Ok(None);
    };
    Ok(read.as_ref().map_err(Clone::clone)?.get(name).cloned())
}

fn shipped_file(at: usize) -> Option<&'static Read> {
    static FILES: [OnceLock<Read>; SHIPPED.len()] = [const { OnceLock::new() }; SHIPPED.len()];
    let (name, text) = SHIPPED.get(at)?;
    Some(FILES.get(at)?.get_or_init(|| read(name, text, true)))
}

/// Whether a program has a shipped profile by exactly this name.
pub(super) fn is_program(name: &str) -> bool {
    index().contains_key(name)
}

/// Whether a word is a subcommand of a program that is known, and so perhaps one of a program that isn't.
pub(super) fn is_subcommand(word: &str) -> bool {
    static ALL: OnceLock<HashSet<String>> = OnceLock::new();
    fn collect(node: &Node, all: &mut HashSet<String>) {
        for (name, child) in &node.commands {
            all.insert(name.clone());
            collect(child, all);
        }
    }
    let all = ALL.get_or_init(|| {
        let mut all = HashSet::new();
        let files = (0..SHIPPED.len()).filter_map(shipped_file).flatten();
        for profile in files.flat_map(HashMap::values) {
            collect(&profile.root, &mut all);
        }
        all
    });
    all.contains(word)
}

/// Which file holds a program, by a look at the headers alone: `[kubectl]`, then `names = ["oc"]`.
fn index() -> &'static HashMap<&'static str, usize> {
    static INDEX: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = HashMap::new();
        for (at, (_, text)) in SHIPPED.iter().enumerate() {
            let mut is_program = false;
            for line in text.lines() {
                if let Some(header) = line.strip_prefix('[') {
                    let header = header.trim_end_matches(']').trim_matches('"');
                    is_program = !header.contains('.');
                    if is_program {
                        index.insert(header, at);
                    }
                } else if is_program
                    && let Some(names) =
                        line.strip_prefix("names = [").or(line.strip_prefix("aliases = ["))
                {
                    let names = names.trim_end_matches(']').split(',');
                    index.extend(names.map(|name| (name.trim().trim_matches('"'), at)));
                }
            }
        }
        index
    })
}

fn read(file: &str, text: &str, is_shipped: bool) -> Read {
    let wrong = |message: String| ProfileError { file: file.to_owned(), message };
    let tables: File = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let digest = Digest::of(text.as_bytes());
    let mut all = HashMap::new();
    for (name, table) in tables {
        let profile = compile(&name, &table, digest, is_shipped).map_err(wrong)?;
        let profile = Arc::new(profile);
        for name in table.names.iter().chain(&table.aliases).chain([&name]) {
            if all.insert(name.clone(), Arc::clone(&profile)).is_some() {
                return Err(wrong(format!("`{name}` stands there twice; leave one out")));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_can_be_read_and_is_found_by_each_of_its_names() {
        let mut names = HashMap::new();
        for (at, (name, text)) in SHIPPED.iter().enumerate() {
            let read = shipped_file(at).unwrap().as_ref().unwrap_or_else(|error| panic!("{error}"));
            for program in read.keys() {
                assert_eq!(index().get(program.as_str()), Some(&at), "{name}: {program}");
                assert_eq!(names.insert(program.clone(), name), None, "{program} is in two files");
            }
            assert!(text.ends_with('\n'), "{name}");
        }
        assert_eq!(index().len(), names.len(), "the index names what no file holds");
    }

    const STRICT: &str = "[kubectl]\nsyntax = \"exact\"\noperands = \"text*\"\n\
        flags.harmless = \"-n= -o= --server=\"\n";

    #[test]
    fn an_own_profile_tightens_or_replaces() {
        use crate::scope::command::{Command, CommandScope};
        let permits = |profiles: Profiles, command: &str| {
            let prefix = ["kubectl get pods".to_owned()];
            let scope = CommandScope::with_profiles(prefix, &Arc::new(profiles)).unwrap();
            scope.permits(&Command::parse(command).unwrap()).is_ok()
        };
        let with = |replaces: bool| {
            let mut profiles = Profiles::shipped();
            profiles.add("own.toml", STRICT, replaces).unwrap();
            profiles
        };
        for (command, shipped, tightened, replaced) in [
            ("kubectl get pods -o wide", true, true, true),
            ("kubectl get pods --watch", true, false, false),
            ("kubectl get pods --server=x", false, false, true),
        ] {
            assert_eq!(permits(Profiles::shipped(), command), shipped, "{command}");
            assert_eq!(permits(with(false), command), tightened, "{command}");
            assert_eq!(permits(with(true), command), replaced, "{command}");
        }
    }

    #[test]
    fn a_profile_that_is_wrong_says_where() {
        let error = |text: &str| Profiles::shipped().add("own.toml", text, false).unwrap_err();
        for (text, says) in [
            ("[x]\nflag = 1\n", "unknown field"),
            ("[x]\nflags.harmless = \"-a -a\"\n", "`-a` stands there twice"),
            ("[x]\nflags.harmless = \"-a=nothing\"\n", "no kind of value `nothing`"),
            ("[x]\nuses = [\"y\"]\n", "no set `y`"),
            ("[x]\noperands = \"what...\"\n", "no kind of value `what`"),
            ("[x]\nnames = [\"x\"]\n", "stands there twice"),
            ("[x]\nnames = [\"y\"]\nunlisted = \"harmless\"\n", "several programs can't share"),
            ("[x]\nvalues.y = {}\n", "allows or refuses"),
            ("[x]\nbefore = \"-a\"\n", "`before` names `-a`, which is no flag that is listed"),
            ("[x]\nbefore = \"-a\"\nflags.runs = \"-a\"\n", "only what is harmless"),
            ("[x]\nbefore = \"-a\"\nordered = true\nflags.harmless = \"-a\"\n", "only what"),
            ("[x]\naliases = [\"x\"]\n", "stands there twice"),
            ("x", ""),
        ] {
            let error = error(text).to_string();
            assert!(error.starts_with("profile `own.toml`: ") && error.contains(says), "{error}");
        }
    }
}
