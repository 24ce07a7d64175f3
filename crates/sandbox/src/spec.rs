//! What to run, and how it travels to the helper.
//!
//! A greeting comes first: a magic, a version and the tier, by which the helper makes ready what is the
//! same for every program. The frame follows: whether there is a program, the body's length (4 bytes,
//! little-endian) and the body, in which every text is its length followed by its bytes. Names and values
//! are bytes, not UTF-8.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::confinement::{Confinement, Tier};
use crate::wire::{Reader, Writer};

const MAGIC: [u8; 4] = *b"LARC";
/// Raised with every change of the frame: a helper named by path may be another build.
const VERSION: u8 = 3;
/// Magic, version and tier.
const GREETING: usize = 6;
/// Whether there is no program, and the length.
const HEAD: usize = 5;
/// Linux takes at most 6 MiB of arguments and environment (`execve(2)`).
const LARGEST_BODY: usize = 8 * 1024 * 1024;

/// What to run. The environment and the arguments are exactly these; nothing is inherited.
#[derive(Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// The program's absolute path.
    pub program: PathBuf,
    /// The file that was checked; the program is run only if it still is this file.
    pub expected: FileIdentity,
    /// Further files that were checked, such as the script that the program interprets. Nothing is
    /// started unless each still is that file; at tier A the child finds exactly it at that path.
    pub pinned: Vec<(PathBuf, FileIdentity)>,
    /// The arguments, `argv[0]` included; at least one.
    pub argv: Vec<OsString>,
    /// The whole environment; each name once.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, absolute.
    pub workdir: PathBuf,
    /// What the child may use.
    pub confinement: Confinement,
}

/// Which file a path led to, and in which state (`stat(2)`). Any write or replacement changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// The device that holds the file.
    pub device: u64,
    /// The inode number on that device.
    pub inode: u64,
    /// The size in bytes.
    pub size: u64,
    /// The last change of the content, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// The last change of the content or the inode, in nanoseconds since 1970.
    pub changed_ns: i128,
}

/// A [`ChildSpec`] that can't be run: the caller's mistake.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// A path that would depend on the current directory.
    #[error("the {what} `{}` is not absolute: resolve it before the spawn", path.display())]
    NotAbsolute {
        /// Which path: the program or the working directory.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// There is no `argv[0]`.
    #[error("the argument list is empty: it must begin with the program's name")]
    NoArguments,
    /// A NUL byte, which no argument, path or variable can carry.
    #[error("the {0} contains a NUL byte: remove it")]
    Nul(&'static str),
    /// An environment variable's name is empty or contains `=`.
    #[error("the environment variable name {0:?} is empty or contains `=`: correct it")]
    VariableName(OsString),
    /// Two values for one name.
    #[error("the environment variable {0:?} is given twice: give it once")]
    DuplicateVariable(OsString),
    /// More than any program can be given.
    #[error(
        "arguments and environment take {0} bytes, more than a program can be given: shorten them"
    )]
    TooLarge(usize),
}

impl FileIdentity {
    /// The identity of the file at `path`, symbolic links followed.
    ///
    /// # Errors
    /// The system's error when the file can't be found or its directory can't be searched.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from_metadata(&std::fs::metadata(path)?))
    }

    /// The identity of an open file, so that what was hashed is what is expected.
    #[must_use]
    pub fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl fmt::Debug for ChildSpec {
    /// Names of environment variables only: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&OsString> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("ChildSpec")
            .field("program", &self.program)
            .field("expected", &self.expected)
            .field("pinned", &self.pinned)
            .field("argv", &self.argv)
            .field("env", &names)
            .field("workdir", &self.workdir)
            .field("confinement", &self.confinement)
            .finish()
    }
}

impl ChildSpec {
    /// Says what would make the run impossible or ambiguous, before anything is started.
    ///
    /// # Errors
    /// A [`SpecError`] that names the field.
    pub fn check(&self) -> Result<(), SpecError> {
        let walls = &self.confinement;
        let granted = walls.grants.iter().map(|grant| ("granted path", &grant.path));
        let made = walls.texts.iter().map(|(path, _)| ("made file", path));
        let links = walls.links.iter().map(|(path, _)| ("made link", path));
        let paths = [("program", &self.program), ("working directory", &self.workdir)]
            .into_iter()
            .chain(self.pinned.iter().map(|(path, _)| ("pinned file", path)))
            .chain(granted.chain(made).chain(links))
            .chain(walls.hidden.iter().map(|path| ("hidden path", path)))
            .chain(walls.home.iter().map(|path| ("home", path)));
        for (what, path) in paths {
            if !path.is_absolute() {
                return Err(SpecError::NotAbsolute { what, path: path.clone() });
            }
            no_nul(what, path.as_os_str())?;
        }
        if self.argv.is_empty() {
            return Err(SpecError::NoArguments);
        }
        for argument in &self.argv {
            no_nul("argument list", argument)?;
        }
        let mut names = std::collections::HashSet::new();
        for (name, value) in &self.env {
            no_nul("environment", name)?;
            no_nul("environment", value)?;
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(SpecError::VariableName(name.clone()));
            }
            if !names.insert(name) {
                return Err(SpecError::DuplicateVariable(name.clone()));
            }
        }
        Ok(())
    }

    /// The frame that travels. It may hold secrets, so that it is wiped when dropped; its room is
    /// taken at once, so that growing leaves no copies.
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, SpecError> {
        self.encode_as(false)
    }

    /// The same for a canary: it has no program, and the arguments are its own.
    pub(crate) fn encode_as(&self, canary: bool) -> Result<Zeroizing<Vec<u8>>, SpecError> {
        self.check()?;
        let texts = || {
            let pairs = self.env.iter().flat_map(|(name, value)| [name, value]);
            self.argv.iter().chain(pairs).map(OsString::as_os_str)
        };
        let mut walls = Writer(Zeroizing::new(Vec::new()));
        walls.confinement(&self.confinement);
        walls.number(self.pinned.len());
        for (path, identity) in &self.pinned {
            walls.path(path);
            walls.identity(identity);
        }
        let paths = [self.program.as_os_str(), self.workdir.as_os_str()];
        let size = texts().chain(paths).map(|text| text.len() + 4).sum::<usize>();
        let size = size + walls.0.len() + 256;
        if size > LARGEST_BODY {
            return Err(SpecError::TooLarge(size));
        }
        let mut body = Writer(Zeroizing::new(Vec::with_capacity(size)));
        body.path(&self.program);
        body.path(&self.workdir);
        body.identity(&self.expected);
        body.bytes(&walls.0);
        body.number(self.argv.len());
        body.number(self.env.len());
        texts().for_each(|text| body.text(text));

        let mut frame = Writer(Zeroizing::new(Vec::with_capacity(size + HEAD)));
        frame.bytes(&[u8::from(canary)]);
        frame.number(body.0.len());
        frame.bytes(&body.0);
        Ok(frame.0)
    }

    /// What a helper is greeted with, before there is anything to run.
    pub(crate) fn greeting(tier: Tier) -> [u8; GREETING] {
        let [m0, m1, m2, m3] = MAGIC;
        [m0, m1, m2, m3, VERSION, tier as u8]
    }

    /// Reads the greeting: the walls that are to be made ready.
    pub(crate) fn read_greeting(source: &mut impl Read) -> io::Result<Tier> {
        let mut greeting = [0; GREETING];
        source.read_exact(&mut greeting)?;
        let [m0, m1, m2, m3, version, tier] = greeting;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(io::Error::other("what was sent to the confinement helper is no program"));
        }
        if version != VERSION {
            return Err(io::Error::other(
                "the confinement helper is of another version than the program that started it: \
                 install both from one release",
            ));
        }
        let tiers = [Tier::A, Tier::B, Tier::C];
        tiers.into_iter().find(|held| *held as u8 == tier).ok_or_else(malformed)
    }

    /// Reads a frame, and not a byte more. `tier` is what the greeting named.
    pub(crate) fn read(tier: Tier, source: &mut impl Read) -> io::Result<Job> {
        let mut head = [0; HEAD];
        source.read_exact(&mut head)?;
        let [canary, a, b, c, d] = head;
        let size = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if canary > 1 || size > LARGEST_BODY {
            return Err(malformed());
        }
        let mut body = Zeroizing::new(vec![0; size]);
        source.read_exact(&mut body)?;
        let spec = Self::decode(tier, &body).ok_or_else(malformed)?;
        Ok(Job { spec, canary: canary == 1 })
    }

    fn decode(tier: Tier, body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let program = body.path()?;
        let workdir = body.path()?;
        let expected = body.identity()?;
        let confinement = body.confinement(tier)?;
        let pinned = body.list(|from| Some((from.path()?, from.identity()?)))?;
        let arguments = body.number()?;
        let variables = body.number()?;
        // Nothing is reserved by these counts: the bytes run out first if they lie.
        let argv = (0..arguments).map(|_| body.text()).collect::<Option<Vec<_>>>()?;
        let env = (0..variables)
            .map(|_| Some((body.text()?, body.text()?)))
            .collect::<Option<Vec<_>>>()?;
        let spec = Self { program, expected, pinned, argv, env, workdir, confinement };
        body.0.is_empty().then_some(spec)
    }
}

/// What a helper has to do.
pub(crate) struct Job {
    pub(crate) spec: ChildSpec,
    /// Whether the walls are tried from inside, instead of a program being run.
    pub(crate) canary: bool,
}

fn nanoseconds(seconds: i64, rest: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(rest)
}

fn no_nul(what: &'static str, text: &OsStr) -> Result<(), SpecError> {
    if text.as_bytes().contains(&0) { Err(SpecError::Nul(what)) } else { Ok(()) }
}

fn malformed() -> io::Error {
    io::Error::other("what was sent to the confinement helper is cut or malformed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confinement::{Access, Grant, Limits, Network};
    use std::os::unix::ffi::OsStringExt;

    fn read(source: &mut &[u8]) -> io::Result<ChildSpec> {
        ChildSpec::read(Tier::B, source).map(|job| job.spec)
    }
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = OsString> {
        vec(1_u8..=255, 0..20).prop_map(OsString::from_vec)
    }

    fn sample() -> ChildSpec {
        ChildSpec {
            program: "/bin/true".into(),
            expected: FileIdentity {
                device: 1,
                inode: 2,
                size: 3,
                modified_ns: -4,
                changed_ns: 5_000_000_000,
            },
            pinned: vec![(
                "/bin/script".into(),
                FileIdentity { device: 9, inode: 8, size: 7, modified_ns: 6, changed_ns: 5 },
            )],
            argv: vec!["true".into()],
            env: vec![("TOKEN".into(), "hunter2hunter2".into())],
            workdir: "/".into(),
            confinement: Confinement {
                tier: Tier::B,
                limits: Limits { processes: Some(7), ..Limits::default() },
                grants: vec![Grant { path: "/usr".into(), access: Access::Execute }],
                hidden: vec!["/usr/secret".into()],
                links: vec![("/bin".into(), "usr/bin".into())],
                texts: vec![("/etc/hosts".into(), b"127.0.0.1 localhost\n".to_vec())],
                home: Some("/root".into()),
                scratch_bytes: 1 << 40,
                network: Network {
                    listen: vec!["127.0.0.1:443".parse().unwrap(), "[::1]:80".parse().unwrap()],
                    connect: vec![443],
                },
            },
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_read(argv in vec(text(), 1..6), values in vec(text(), 0..6)) {
            let env = values
                .into_iter()
                .enumerate()
                .map(|(n, value)| (OsString::from(format!("V{n}")), value))
                .collect();
            let spec = ChildSpec { argv, env, ..sample() };
            let mut frame = spec.encode().unwrap().to_vec();
            frame.extend_from_slice(b"K");
            let mut source = frame.as_slice();
            prop_assert_eq!(read(&mut source).unwrap(), spec);
            // A command that follows at once is left in the socket.
            prop_assert_eq!(source, b"K");
        }

        #[test]
        fn any_body_is_read_without_a_panic(body in vec(any::<u8>(), 0..200)) {
            let _ = ChildSpec::decode(Tier::A, &body);
        }

        #[test]
        fn a_cut_frame_is_an_error(cut in 0_usize..300) {
            let frame = sample().encode().unwrap();
            prop_assume!(cut < frame.len());
            prop_assert!(read(&mut &frame[..cut]).is_err());
        }
    }

    #[test]
    fn another_version_says_so() {
        let mut greeting = ChildSpec::greeting(Tier::B);
        let read = |greeting: &[u8]| ChildSpec::read_greeting(&mut &*greeting);
        assert_eq!(read(&greeting).unwrap(), Tier::B);
        assert!(read(&greeting[..5]).is_err());
        greeting[4] += 1;
        let error = read(&greeting).unwrap_err();
        assert!(error.to_string().contains("another version"), "{error}");
    }

    #[test]
    fn what_can_not_be_run_is_refused() {
        let error = |change: fn(&mut ChildSpec)| {
            let mut spec = sample();
            change(&mut spec);
            spec.encode().unwrap_err().to_string()
        };
        assert_eq!(
            error(|spec| spec.program = "true".into()),
            "the program `true` is not absolute: resolve it before the spawn"
        );
        assert!(error(|spec| spec.workdir = ".".into()).contains("working directory"));
        assert!(error(|spec| spec.argv.clear()).contains("argument list is empty"));
        assert!(error(|spec| spec.argv.push("a\0b".into())).contains("NUL"));
        assert!(error(|spec| spec.env.push(("A=B".into(), "".into()))).contains("`=`"));
        assert!(error(|spec| spec.env.push(("TOKEN".into(), "".into()))).contains("twice"));
        assert!(error(|spec| spec.argv.push("x".repeat(9 << 20).into())).contains("bytes"));
    }

    #[test]
    fn debug_output_hides_values() {
        let shown = format!("{:?}", sample());
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}
