//! From what a token grants to what the kernel enforces: the sole bridge between the two.
//!
//! [`Walls`] are found once, when the run starts, by a child that tries them; below the tier that is
//! asked for, nothing starts. Each program then gets exactly what its token says, at exactly that tier:
//! nothing here or below it falls back to less.

mod advice;
mod broker;
mod network;
mod overlap;
mod place;
mod system;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lar_core::scope::Reach;
use lar_core::token::Token;
use lar_sandbox::{Access, Confinement, FileIdentity, Grant, Limits, Network};
use secrecy::{ExposeSecret, SecretString};

pub use advice::{Advice, advice};
pub use broker::Broker;
pub use lar_sandbox::{Check, Probe, Tier, TierReport};
pub use overlap::{Overlap, exposed, overlaps};

use crate::tools::programs::{Launch, Programs};
use network::Plan;
use place::Places;

/// How much a child may write to its private directories, in bytes, together.
const SCRATCH: u64 = 1 << 30;
/// How much memory one process of a child may fill, in bytes.
const MEMORY: u64 = 4 << 30;
/// How much memory all processes of a child may hold, in bytes.
const TREE_MEMORY: u64 = 6 << 30;
/// How many processes and threads a child may have.
const PROCESSES: u64 = 1024;
/// The largest file that a child may write, in bytes.
const FILE: u64 = 8 << 30;

/// What stands around every program of a run.
#[derive(Debug, Clone)]
pub struct Walls {
    probe: Probe,
    /// The operator's home; a child finds an empty one there.
    home: Option<PathBuf>,
    /// What no child may read, whatever lies around it.
    hidden: Vec<PathBuf>,
    /// What some child may change: links that lie there are not followed out of there.
    writable: Vec<PathBuf>,
}

/// The walls that are asked for can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel gives less than the run demands.
    #[error(
        "children can only be confined at tier {} here, and tier {} is required: {why}; see \
         `lar doctor` for how to get it, or accept less with `--min-tier {}`, `[confinement] min_tier`, or \
         `min_tier` in Python", found.letter(), wanted.letter(), found.letter()
    )]
    TooWeak {
        /// What is demanded.
        wanted: Tier,
        /// What there is.
        found: Tier,
        /// What is missing.
        why: String,
    },
    /// Nothing could be tried.
    #[error("{0}")]
    Launcher(#[from] lar_sandbox::SpawnError),
    /// No directory for the trial.
    #[error("no private directory could be made to try the confinement in ({0})")]
    NoDirectory(std::io::ErrorKind),
    /// What a token may write lies where the run's own trust is.
    #[error("{}", overlap::tell(.0))]
    Overlaps(Vec<Overlap>),
}

/// What a program is to be started with.
pub(crate) struct Confined {
    pub(crate) confinement: Confinement,
    pub(crate) pinned: Vec<(PathBuf, FileIdentity)>,
    /// Variables that take the place of others of their name.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Who serves the child's network.
    pub(crate) broker: Option<Broker>,
    /// Where the child writes at tier B; it goes with the child.
    pub(crate) private: Option<tempfile::TempDir>,
}

impl Confined {
    /// No walls, for a program that acts for the operator.
    pub(crate) fn for_the_operator(launch: &Launch) -> Self {
        Self {
            confinement: Confinement::default(),
            pinned: launch.pinned.clone(),
            env: Vec::new(),
            broker: None,
            private: None,
        }
    }
}

/// What surrounds a program, as its order says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) reach: Reach,
    /// An own home instead of the operator's.
    pub(crate) home: Option<PathBuf>,
    /// Where relative paths of the reach begin.
    pub(crate) base: PathBuf,
    /// Files that are made for the child beneath its home.
    pub(crate) files: Vec<(PathBuf, SecretString)>,
    /// Variables in which `{home}` stands for where those files are.
    pub(crate) env: Vec<(&'static str, String)>,
}

impl Walls {
    /// Tries what can be had here, and refuses when it is less than `least`.
    ///
    /// # Errors
    /// [`ConfineError`], with what is missing and what to do.
    pub fn find(least: Tier) -> Result<Self, ConfineError> {
        let walls = match Self::try_all() {
            // Where nothing is demanded, nothing needs to be tried.
            Err(_) if least == Tier::C => Self::untried(),
            walls => walls?,
        };
        let found = walls.tier();
        if found > least {
            let missing = [Tier::A, Tier::B].into_iter().filter(|tier| *tier >= least);
            let why: Vec<String> = missing.filter_map(|tier| walls.probe.why_not(tier)).collect();
            return Err(ConfineError::TooWeak { wanted: least, found, why: why.join("; ") });
        }
        Ok(walls)
    }

    /// Tries what can be had here, whatever it is.
    ///
    /// # Errors
    /// [`ConfineError`] when nothing can even be tried.
    pub fn try_all() -> Result<Self, ConfineError> {
        let outside =
            tempfile::tempdir().map_err(|error| ConfineError::NoDirectory(error.kind()))?;
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Ok(Self {
            probe: lar_sandbox::probe(outside.path())?,
            home,
            hidden: Vec::new(),
            writable: Vec::new(),
        })
    }

    /// What there is where nothing could be tried: nothing.
    fn untried() -> Self {
        let probe = Probe { tier: Tier::C, landlock: 0, tried: Vec::new() };
        Self { probe, home: None, hidden: Vec::new(), writable: Vec::new() }
    }

    /// The tier at which every child runs.
    pub fn tier(&self) -> Tier {
        self.probe.tier
    }

    /// The same as where no more than this tier can be had, for tests of what happens there. What is
    /// recorded is what there is.
    #[must_use]
    pub fn lowered_to(mut self, tier: Tier) -> Self {
        self.probe.tier = self.probe.tier.max(tier);
        self
    }

    /// What was tried, for `lar doctor`.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Keeps these paths from every child, wherever they lie (tier A; at tier B nothing that lies in a
    /// granted directory can be kept out).
    pub fn hide(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        // What isn't there yet may be there when a child starts.
        self.hidden.extend(paths.into_iter().filter_map(|path| overlap::real(&path)));
    }

    /// Names what programs of these tokens may change. A path that is granted later may not lead out of
    /// there by a link, which one of them could have made.
    pub fn guard(&mut self, tokens: &[Token], workdir: &Path) {
        self.writable.extend(overlap::written(tokens, workdir, self.home.as_deref()));
    }

    /// What a program gets. The message of an error says what can't be granted and why.
    pub(crate) fn around(
        &self,
        launch: &Launch,
        workdir: &Path,
        around: &Surroundings,
        programs: &Programs,
    ) -> Result<Confined, String> {
        if self.tier() == Tier::C {
            return unconfined(launch, around);
        }
        let mut places = Places::default();
        let mut pinned = launch.pinned.clone();
        system::readable(&mut places);
        self.grant(&mut places, workdir, around, programs, &mut pinned)?;
        for path in &launch.executes {
            places.add(path, Access::Execute);
        }
        // A script is opened by the name that it was called by, too.
        for path in launch.pinned.iter().map(|(path, _)| path).chain(&launch.names) {
            places.add(path, Access::Read);
        }
        for path in launch.executes.iter().chain(&launch.names) {
            system::beside(path, &mut places);
        }
        let mut confined = match self.tier() {
            Tier::A => self.with_own_root(around, workdir, &places.grants)?,
            Tier::B | Tier::C => with_private_directory(&mut places, around)?,
        };
        let Places { grants, links } = places;
        confined.confinement.grants = grants;
        confined.confinement.links = links;
        confined.pinned = pinned;
        Ok(confined)
    }

    /// What the token says.
    fn grant(
        &self,
        places: &mut Places,
        workdir: &Path,
        around: &Surroundings,
        programs: &Programs,
        pinned: &mut Vec<(PathBuf, FileIdentity)>,
    ) -> Result<(), String> {
        // The root itself is never granted: who runs there gets the empty one.
        if workdir != Path::new("/") && around.home.as_deref() != Some(workdir) {
            self.stays(workdir)?;
            places.add(workdir, Access::Read);
        }
        for path in &around.reach.reads {
            // What isn't there needs no grant: many programs look for files that few have.
            let path = around.base.join(self.expand(path));
            self.stays(&path)?;
            places.add(&path, Access::Read);
        }
        for path in &around.reach.writes {
            let path = around.base.join(self.expand(path));
            self.stays(&path)?;
            if !places.add(&path, Access::Write) {
                let path = path.display();
                return Err(format!(
                    "`{path}` is to be written and does not exist: make it, or leave it out of `writes`"
                ));
            }
        }
        for name in &around.reach.also_runs {
            if name == "*" {
                for directory in programs.directories() {
                    places.add(directory, Access::Execute);
                }
                system::executable(places);
                continue;
            }
            let path = self.expand(name);
            let directory = around.base.join(&path);
            if name.contains('/') && directory.is_dir() {
                self.stays(&directory)?;
                places.add(&directory, Access::Execute);
                continue;
            }
            let name = path.to_string_lossy();
            let Ok(program) = programs.identify(&name, &around.base) else {
                // A profile lists what some versions start; what isn't there can't be started.
                continue;
            };
            for path in &program.launch.executes {
                places.add(path, Access::Execute);
            }
            places.add(&program.path, Access::Execute);
            pinned.extend(program.launch.pinned.iter().cloned());
            pinned.push((program.launch.program.clone(), program.launch.file));
        }
        Ok(())
    }

    /// Refuses a path that a program could have turned elsewhere.
    fn stays(&self, path: &Path) -> Result<(), String> {
        match place::strays(path, &self.writable) {
            None => Ok(()),
            Some(place) => Err(format!(
                "`{}` leads out of `{}` by a link, which a program of this run may have made: remove the \
                 link, or name what it leads to",
                path.display(),
                place.display()
            )),
        }
    }

    fn with_own_root(
        &self,
        around: &Surroundings,
        workdir: &Path,
        grants: &[Grant],
    ) -> Result<Confined, String> {
        let mut hidden = self.hidden.clone();
        // Who works in the home didn't mean to hand out the keys that lie there.
        if let Some(operator) = self.home.as_deref().filter(|home| home.starts_with(workdir)) {
            let named = around.reach.reads.iter().chain(&around.reach.writes);
            let named: Vec<PathBuf> =
                named.map(|path| around.base.join(self.expand(path))).collect();
            let meant = |path: &PathBuf| named.iter().any(|named| named.starts_with(path));
            let keys = system::CREDENTIALS.iter().map(|name| operator.join(name));
            hidden.extend(keys.filter(|path| path.exists() && !meant(path)));
        }
        let Plan { listen, hosts, routes, mut env } = network::plan(&around.reach.network)?;
        let home = around.home.clone().or_else(|| self.home.clone());
        // A home at the root would cover all of it.
        let home = home.filter(|home| home != Path::new("/"));
        let mut texts = system::texts(home.as_deref(), &hosts);
        // A home that was granted as it is holds the operator's own files.
        let granted = |home: &PathBuf| grants.iter().any(|grant| home.starts_with(&grant.path));
        let at = home.clone().filter(|home| !granted(home));
        let at = at.unwrap_or_else(|| Path::new("/dev/shm/home").to_owned());
        texts.extend(
            around
                .files
                .iter()
                .map(|(path, text)| (at.join(path), text.expose_secret().as_bytes().to_vec())),
        );
        env.extend(around.variables(&at));
        let confinement = Confinement {
            tier: Tier::A,
            limits: Limits {
                processes: Some(PROCESSES),
                memory: Some(MEMORY),
                tree_memory: Some(TREE_MEMORY),
                file_size: Some(FILE),
                open_files: None,
            },
            hidden,
            texts,
            home,
            scratch_bytes: SCRATCH,
            network: Network { listen, connect: Vec::new() },
            ..Confinement::default()
        };
        let broker = (!routes.is_empty()).then(|| Broker::new(routes));
        Ok(Confined { confinement, pinned: Vec::new(), env, broker, private: None })
    }

    /// `~/` is the operator's home.
    fn expand(&self, path: &str) -> PathBuf {
        expand(path, self.home.as_deref())
    }
}

/// `~/` is the operator's home.
fn expand(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Without walls the child still gets its accounts alone, as files of its own.
fn unconfined(launch: &Launch, around: &Surroundings) -> Result<Confined, String> {
    let mut confined = Confined::for_the_operator(launch);
    if !around.files.is_empty() {
        let private = private_directory()?;
        around.write_files(private.path()).map_err(|error| no_directory(&error))?;
        confined.env.extend(around.variables(private.path()));
        confined.private = Some(private);
    }
    Ok(confined)
}

fn private_directory() -> Result<tempfile::TempDir, String> {
    let made = tempfile::Builder::new().prefix("lar-child-").tempdir();
    made.map_err(|error| no_directory(&error))
}

fn no_directory(error: &std::io::Error) -> String {
    format!("no private directory could be made ({})", error.kind())
}

impl Surroundings {
    /// The variables, when the files lie here.
    fn variables(&self, home: &Path) -> impl Iterator<Item = (OsString, OsString)> {
        let home = home.to_string_lossy().into_owned();
        self.env
            .iter()
            .map(move |(name, value)| ((*name).into(), value.replace("{home}", &home).into()))
    }

    /// Makes the files, for a child that has no file tree of its own.
    fn write_files(&self, home: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        for (path, text) in &self.files {
            let path = home.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(home))?;
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            std::io::Write::write_all(&mut file, text.expose_secret().as_bytes())?;
        }
        Ok(())
    }
}

/// Tier B has no root of its own, so that what is private lies in a directory of the system's.
fn with_private_directory(places: &mut Places, around: &Surroundings) -> Result<Confined, String> {
    let fail = |error: std::io::Error| no_directory(&error);
    let private = private_directory()?;
    let (home, scratch) = (private.path().join("home"), private.path().join("tmp"));
    for directory in [&home, &scratch] {
        std::fs::create_dir(directory).map_err(fail)?;
    }
    places.add(private.path(), Access::Write);
    let mut env = vec![("TMPDIR".into(), scratch.into())];
    around.write_files(&home).map_err(fail)?;
    env.extend(around.variables(&home));
    match &around.home {
        // Whoever made it keeps it private.
        Some(home) => {
            places.add(home, Access::Write);
        }
        None => env.push(("HOME".into(), home.clone().into())),
    }
    let confinement = Confinement {
        tier: Tier::B,
        limits: Limits {
            processes: None,
            memory: Some(MEMORY),
            tree_memory: None,
            file_size: Some(FILE),
            open_files: None,
        },
        network: Network {
            listen: Vec::new(),
            connect: around.reach.network.iter().map(lar_core::scope::Endpoint::port).collect(),
        },
        ..Confinement::default()
    };
    Ok(Confined { confinement, pinned: Vec::new(), env, broker: None, private: Some(private) })
}
