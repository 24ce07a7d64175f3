//! What to run, and how it travels to the helper.
//!
//! The frame is a magic, a version, the body's length (4 bytes, little-endian) and the body, in
//! which every text is its length followed by its bytes. Names and values are bytes, not UTF-8.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::confinement::{Confinement, Limits};

const MAGIC: [u8; 4] = *b"LARC";
/// Raised with every change of the frame: a helper named by path may be another build.
const VERSION: u8 = 1;
/// Linux takes at most 6 MiB of arguments and environment (`execve(2)`).
const LARGEST_BODY: usize = 8 * 1024 * 1024;

/// What to run. The environment and the arguments are exactly these; nothing is inherited.
#[derive(Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// The program's absolute path.
    pub program: PathBuf,
    /// The file that was checked; the program is run only if it still is this file.
    pub expected: FileIdentity,
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
        for (what, path) in [("program", &self.program), ("working directory", &self.workdir)] {
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
        self.check()?;
        let texts = || {
            let pairs = self.env.iter().flat_map(|(name, value)| [name, value]);
            self.argv.iter().chain(pairs).map(OsString::as_os_str)
        };
        let paths = [self.program.as_os_str(), self.workdir.as_os_str()];
        let fixed = 256;
        let size = texts().chain(paths).map(|text| text.len() + 4).sum::<usize>() + fixed;
        if size > LARGEST_BODY {
            return Err(SpecError::TooLarge(size));
        }
        let mut body = Writer(Zeroizing::new(Vec::with_capacity(size)));
        body.text(self.program.as_os_str());
        body.text(self.workdir.as_os_str());
        body.identity(&self.expected);
        let limits = &self.confinement.limits;
        for limit in [limits.open_files, limits.processes, limits.file_size] {
            body.bytes(&[u8::from(limit.is_some())]);
            body.bytes(&limit.unwrap_or(0).to_le_bytes());
        }
        body.number(self.argv.len());
        body.number(self.env.len());
        texts().for_each(|text| body.text(text));

        let mut frame = Writer(Zeroizing::new(Vec::with_capacity(size + MAGIC.len() + 5)));
        frame.bytes(&MAGIC);
        frame.bytes(&[VERSION]);
        frame.number(body.0.len());
        frame.bytes(&body.0);
        Ok(frame.0)
    }

    /// Reads one frame, and not a byte more.
    pub(crate) fn read_from(source: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; 9];
        source.read_exact(&mut header)?;
        let [m0, m1, m2, m3, version, a, b, c, d] = header;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(io::Error::other("what was sent to the confinement helper is no program"));
        }
        if version != VERSION {
            return Err(io::Error::other(
                "the confinement helper is of another version than the program that started it: \
                 install both from one release",
            ));
        }
        let size = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if size > LARGEST_BODY {
            return Err(malformed());
        }
        let mut body = Zeroizing::new(vec![0; size]);
        source.read_exact(&mut body)?;
        Self::decode(&body).ok_or_else(malformed)
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let program = PathBuf::from(body.text()?);
        let workdir = PathBuf::from(body.text()?);
        let expected = body.identity()?;
        let mut limit = || {
            let [set] = body.array()?;
            let value = u64::from_le_bytes(body.array()?);
            Some((set != 0).then_some(value))
        };
        let limits = Limits { open_files: limit()?, processes: limit()?, file_size: limit()? };
        let arguments = body.number()?;
        let variables = body.number()?;
        // Nothing is reserved by these counts: the bytes run out first if they lie.
        let argv = (0..arguments).map(|_| body.text()).collect::<Option<Vec<_>>>()?;
        let env = (0..variables)
            .map(|_| Some((body.text()?, body.text()?)))
            .collect::<Option<Vec<_>>>()?;
        let confinement = Confinement { limits };
        let spec = Self { program, expected, argv, env, workdir, confinement };
        body.0.is_empty().then_some(spec)
    }
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

struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, number: usize) {
        // The whole body is capped far below this, so that the saturation is never met.
        self.bytes(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn text(&mut self, text: &OsStr) {
        self.number(text.len());
        self.bytes(text.as_bytes());
    }

    fn identity(&mut self, identity: &FileIdentity) {
        for number in [identity.device, identity.inode, identity.size] {
            self.bytes(&number.to_le_bytes());
        }
        self.bytes(&identity.modified_ns.to_le_bytes());
        self.bytes(&identity.changed_ns.to_le_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn text(&mut self) -> Option<OsString> {
        let size = self.number()?;
        let (head, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(OsString::from_vec(head.to_vec()))
    }

    fn identity(&mut self) -> Option<FileIdentity> {
        Some(FileIdentity {
            device: u64::from_le_bytes(self.array()?),
            inode: u64::from_le_bytes(self.array()?),
            size: u64::from_le_bytes(self.array()?),
            modified_ns: i128::from_le_bytes(self.array()?),
            changed_ns: i128::from_le_bytes(self.array()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            argv: vec!["true".into()],
            env: vec![("TOKEN".into(), "hunter2hunter2".into())],
            workdir: "/".into(),
            confinement: Confinement { limits: Limits { processes: Some(7), ..Limits::default() } },
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
            prop_assert_eq!(ChildSpec::read_from(&mut source).unwrap(), spec);
            // A command that follows at once is left in the socket.
            prop_assert_eq!(source, b"K");
        }

        #[test]
        fn any_body_is_read_without_a_panic(body in vec(any::<u8>(), 0..200)) {
            let _ = ChildSpec::decode(&body);
        }

        #[test]
        fn a_cut_frame_is_an_error(cut in 0_usize..150) {
            let frame = sample().encode().unwrap();
            prop_assume!(cut < frame.len());
            prop_assert!(ChildSpec::read_from(&mut &frame[..cut]).is_err());
        }
    }

    #[test]
    fn another_version_says_so() {
        let mut frame = sample().encode().unwrap().to_vec();
        frame[4] += 1;
        let error = ChildSpec::read_from(&mut frame.as_slice()).unwrap_err();
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
