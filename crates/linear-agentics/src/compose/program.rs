//! The digest of the program that runs here, for the first record of a run.
//!
//! Reading a program of tens of megabytes takes longer than all else before the first question to the
//! model. Its digest is therefore kept in the state directory, with which file it is of and in which state, as
//! the kernel tells it (`stat(2)`). Who can write there is the account itself, which could as well replace
//! the program; no token and no program of a run can.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lar_core::json::Digest;
use lar_sandbox::FileIdentity;

use super::default_ledger;

/// The file beside the default ledger and the keys.
const NAME: &str = "program";
/// How many programs are kept: several versions, or hosts of the library.
const MOST: usize = 8;
/// A longer file is none of ours.
const LONGEST: u64 = 4096;
/// A file that was changed so lately could be changed again without a later time.
const SETTLED: Duration = Duration::from_secs(2);

/// SHA-256 of the file of the program that runs here, where it can be read.
pub(super) fn own_program() -> Option<Digest> {
    let file = File::open("/proc/self/exe");
    let mut file = file.or_else(|_| std::env::current_exe().and_then(File::open)).ok()?;
    let kept = default_ledger().ok().map(|ledger| ledger.with_file_name(NAME));
    digest(&mut file, kept.as_deref(), SystemTime::now()).ok()
}

/// The digest of a file, from what is kept or read anew and then kept.
fn digest(file: &mut File, kept: Option<&Path>, now: SystemTime) -> io::Result<Digest> {
    let identity = FileIdentity::from_metadata(&file.metadata()?);
    let name = name(&identity);
    let lines = kept.map(lines).unwrap_or_default();
    let known = lines.iter().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    if let Some(known) = known {
        return Ok(known);
    }
    let sum = Digest::of_reader(&mut *file)?;
    let is_settled = now
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|now| i128::try_from(now.saturating_sub(SETTLED).as_nanos()).ok())
        .is_some_and(|before| identity.changed_ns < before);
    if let Some(kept) = kept
        && is_settled
        && FileIdentity::from_metadata(&file.metadata()?) == identity
    {
        let all = std::iter::once(format!("{name}{sum}")).chain(lines).take(MOST);
        // What can't be kept is read again the next time.
        let _ = write(kept, &all.map(|line| line + "\n").collect::<String>());
    }
    Ok(sum)
}

/// What stands before a file's digest.
fn name(identity: &FileIdentity) -> String {
    let FileIdentity { device, inode, size, modified_ns, changed_ns } = identity;
    format!("{device} {inode} {size} {modified_ns} {changed_ns} ")
}

/// What is kept; nothing where somebody else could have written it.
fn lines(kept: &Path) -> Vec<String> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(kept);
    let Ok(file) = opened else { return Vec::new() };
    let is_ours = file.metadata().is_ok_and(|found| {
        found.is_file()
            && found.uid() == rustix::process::geteuid().as_raw()
            && found.mode() & 0o022 == 0
    });
    let mut text = String::new();
    match is_ours && file.take(LONGEST).read_to_string(&mut text).is_ok() {
        true => text.lines().map(ToOwned::to_owned).collect(),
        false => Vec::new(),
    }
}

/// Replaces it whole, so that nobody reads a part.
fn write(kept: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = kept.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let beside = PathBuf::from(format!("{}.{}", kept.display(), std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()));
    let replaced = written.and_then(|()| fs::rename(&beside, kept));
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
    }

    impl Place {
        fn new(text: &str) -> Self {
            let place = Self { directory: tempfile::tempdir().unwrap() };
            fs::write(place.program(), text).unwrap();
            place
        }

        fn program(&self) -> PathBuf {
            self.directory.path().join("running")
        }

        fn kept(&self) -> PathBuf {
            self.directory.path().join(NAME)
        }

        /// What is said so long from now.
        fn after(&self, seconds: u64) -> Digest {
            let now = SystemTime::now() + Duration::from_secs(seconds);
            digest(&mut File::open(self.program()).unwrap(), Some(&self.kept()), now).unwrap()
        }
    }

    #[test]
    fn a_digest_that_is_kept_is_not_computed_again() {
        let place = Place::new("one");
        assert_eq!(place.after(60), Digest::of(b"one"));
        let kept = fs::read_to_string(place.kept()).unwrap();
        assert!(kept.contains(&Digest::of(b"one").to_string()), "{kept}");
        // It is what is kept that is said.
        let other = Digest::of(b"other").to_string();
        fs::write(place.kept(), kept.replace(&Digest::of(b"one").to_string(), &other)).unwrap();
        assert_eq!(place.after(60).to_string(), other);
    }

    #[test]
    fn a_program_that_changed_is_read_anew() {
        let place = Place::new("one");
        place.after(60);
        fs::write(place.program(), "two").unwrap();
        assert_eq!(place.after(60), Digest::of(b"two"));
        fs::remove_file(place.program()).unwrap();
        fs::write(place.program(), "six").unwrap();
        assert_eq!(place.after(60), Digest::of(b"six"));
        assert_eq!(fs::read_to_string(place.kept()).unwrap().lines().count(), 3);
    }

    #[test]
    fn what_was_just_changed_is_not_kept() {
        let place = Place::new("one");
        assert_eq!(place.after(0), Digest::of(b"one"));
        assert!(!place.kept().exists());
    }

    #[test]
    fn what_others_can_write_is_not_believed() {
        let place = Place::new("one");
        place.after(60);
        let other = fs::read_to_string(place.kept()).unwrap();
        let other = other.replace(&Digest::of(b"one").to_string(), &Digest::of(b"x").to_string());
        fs::write(place.kept(), other).unwrap();
        fs::set_permissions(place.kept(), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(place.after(60), Digest::of(b"one"));
        // Nonsense is no digest, and nothing is kept where that can't be.
        fs::write(place.kept(), [0xff, b'\n']).unwrap();
        assert_eq!(place.after(60), Digest::of(b"one"));
        fs::remove_file(place.kept()).unwrap();
        fs::create_dir(place.kept()).unwrap();
        assert_eq!(place.after(60), Digest::of(b"one"));
        assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn few_are_kept() {
        let place = Place::new("");
        for round in 0..12 {
            fs::write(place.program(), format!("{round}")).unwrap();
            place.after(60);
        }
        assert_eq!(fs::read_to_string(place.kept()).unwrap().lines().count(), MOST);
    }
}
