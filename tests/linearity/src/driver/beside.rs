//! What goes on beside the workers where the proofs are tried: witnesses that are killed, and a change of
//! the log's key that is. Both are the command line, as it stands.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::slot::Random;
use crate::trial::Round;

/// How often in a row a change of the key may find the ledger busy.
const MOST_LOST: u32 = 20;
const WITNESSES: usize = 2;

/// The command line, the ledger that it works on, and its witnesses.
#[derive(Debug)]
pub struct Beside {
    program: PathBuf,
    directory: PathBuf,
    ledger: String,
    /// The key of each witness, and where it can be asked now.
    witnesses: Mutex<Vec<(String, Option<String>)>>,
}

impl Beside {
    /// Makes the witnesses of a round.
    ///
    /// # Errors
    /// Says what the command line said.
    pub fn new(directory: &Path, store: &str) -> Result<Self, String> {
        let driver = std::env::current_exe().map_err(|error| error.to_string())?;
        let program = driver.with_file_name("lar");
        if !program.is_file() {
            return Err("`lar` is not built; `cargo build -p lar` builds it".to_owned());
        }
        let ledger = match store.starts_with("postgres") {
            true => store.to_owned(),
            false => format!("{store}/ledger.db"),
        };
        let made = Mutex::new(Vec::new());
        let directory = directory.to_owned();
        let beside = Self { program, directory, ledger, witnesses: made };
        beside.ask(&["keys", "init", "--ledger", &beside.ledger])?;
        for number in 0..WITNESSES {
            let name = format!("witness.example/w{number}");
            let home = beside.home(number);
            let key = beside.ask(&["witness", "init", &home.to_string_lossy(), "--name", &name])?;
            beside.witnesses().push((key.trim().to_owned(), None));
            fs::create_dir_all(home.join("logs")).map_err(|error| error.to_string())?;
        }
        Ok(beside)
    }

    fn witnesses(&self) -> std::sync::MutexGuard<'_, Vec<(String, Option<String>)>> {
        self.witnesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn home(&self, number: usize) -> PathBuf {
        self.directory.join(format!("witness{number}"))
    }

    fn file(&self) -> PathBuf {
        self.directory.join("witnesses")
    }

    /// What the workers and the command line must be told.
    pub fn variables(&self) -> [(&'static str, PathBuf); 3] {
        let state = self.directory.join("state");
        [("HOME", state.clone()), ("XDG_STATE_HOME", state), ("LINEARITY_WITNESSES", self.file())]
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).envs(self.variables()).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the command line to its end.
    fn ask(&self, words: &[&str]) -> Result<String, String> {
        ended(self.command(words).spawn().map_err(|error| error.to_string())?, words)
    }

    /// The keys with which the log may be signed.
    fn log_keys(&self) -> Result<Vec<String>, String> {
        let shown = self.ask(&["keys", "show", "--json", "--ledger", &self.ledger])?;
        let shown: serde_json::Value =
            serde_json::from_str(&shown).map_err(|error| error.to_string())?;
        let keys = shown.get("keys").and_then(|keys| keys.as_array()).into_iter().flatten();
        Ok(keys.filter_map(|line| Some(line.get("key")?.as_str()?.to_owned())).collect())
    }

    /// Says where a witness can be asked.
    fn publish(&self, number: usize, url: String) -> Result<(), String> {
        // Under the lock, so that the newest address of all stands there.
        let mut witnesses = self.witnesses();
        if let Some(witness) = witnesses.get_mut(number) {
            witness.1 = Some(url);
        }
        let lines = witnesses.iter().enumerate().filter_map(|(number, (key, url))| {
            Some(format!("{key} {} {}\n", self.home(number).display(), url.as_ref()?))
        });
        let draft = self.file().with_extension("draft");
        fs::write(&draft, lines.collect::<String>()).map_err(|error| error.to_string())?;
        fs::rename(&draft, self.file()).map_err(|error| error.to_string())
    }

    /// Starts a witness, which knows the keys of this moment.
    fn serve(&self, number: usize) -> Result<Child, String> {
        let home = self.home(number).to_string_lossy().into_owned();
        let keys = self.log_keys()?;
        let mut words = vec!["witness", "serve", &home, "--listen", "127.0.0.1:0"];
        words.extend(keys.iter().flat_map(|key| ["--log", key.as_str()]));
        let mut command = self.command(&words);
        let mut child = command.stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        match line.trim().rsplit_once(' ') {
            Some((_, url)) => self.publish(number, url.to_owned())?,
            None => return Err(format!("witness {number} doesn't start")),
        }
        Ok(child)
    }

    /// What goes on at once: as many witnesses as there are, and who changes the key.
    pub fn tasks(&self) -> impl Iterator<Item = Task<'_>> {
        let witnesses = (0..WITNESSES).map(|number| Task(self, Some(number)));
        witnesses.chain(std::iter::once(Task(self, None)))
    }

    /// Has a witness cosign and be killed until the round is done: at random, while it writes down what
    /// it is about to cosign, or when it has written it and answered nobody.
    fn witness(&self, round: &Round<'_>, number: usize, mut random: Random) -> Result<(), String> {
        while !round.is_done() {
            let mut child = self.serve(number)?;
            let step = match random.below(3) {
                0 => Some(("witness.draft", WatchFlags::CREATE)),
                1 => Some(("witness.kept", WatchFlags::MOVED_TO)),
                _ => None,
            };
            let life = Duration::from_millis(150 + random.below(450));
            let reached = match step {
                Some((_, flags)) => appears(&self.home(number).join("logs"), flags, life)?,
                None => {
                    std::thread::sleep(life);
                    false
                }
            };
            end(&mut child)?;
            if !round.is_done() {
                round.killed(step.filter(|_| reached).map(|(name, _)| name));
            }
        }
        Ok(())
    }

    /// Changes the log's key again and again until the round is done, and is killed meanwhile every
    /// other time.
    fn rotate(&self, round: &Round<'_>, mut random: Random) -> Result<(), String> {
        let words = ["keys", "rotate", "--ledger", self.ledger.as_str()];
        let (mut longest, mut lost) = (Duration::from_millis(20), 0);
        while !round.is_done() {
            std::thread::sleep(Duration::from_millis(100 + random.below(500)));
            let begun = Instant::now();
            let mut child = self.command(&words).spawn().map_err(|error| error.to_string())?;
            if random.below(2) == 0 {
                let most = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
                std::thread::sleep(Duration::from_micros(random.below(most)));
                let ran = child.try_wait().map_err(|error| error.to_string())?.is_none();
                end(&mut child)?;
                if ran && !round.is_done() {
                    round.killed(Some("keys-rotate"));
                }
                continue;
            }
            match ended(child, &words) {
                Ok(_) => (longest, lost) = (begun.elapsed(), 0),
                Err(_) if lost < MOST_LOST => lost += 1,
                Err(said) => return Err(said),
            }
        }
        Ok(())
    }

    /// Has the command line verify every run with the log's keys.
    ///
    /// # Errors
    /// What it finds broken.
    pub fn verify(&self) -> Result<(), String> {
        let policy = self.directory.join("policy.toml");
        let known = self.ask(&["keys", "show", "--policy", "--ledger", &self.ledger])?;
        fs::write(&policy, known).map_err(|error| error.to_string())?;
        let policy = policy.to_string_lossy().into_owned();
        let words = ["audit", "verify", "--policy", &policy, "--ledger", &self.ledger];
        self.ask(&words).map(drop)
    }
}

/// A witness by its number, or the change of the key.
#[derive(Debug)]
pub struct Task<'b>(&'b Beside, Option<usize>);

impl Task<'_> {
    /// Keeps it going until the round is done.
    ///
    /// # Errors
    /// What was said by a command that ended in a way in which it must never end.
    pub fn keep(&self, round: &Round<'_>, random: Random) -> Result<(), String> {
        match self.1 {
            Some(number) => self.0.witness(round, number, random),
            None => self.0.rotate(round, random),
        }
    }
}

fn end(child: &mut Child) -> Result<(), String> {
    child.kill().and_then(|()| child.wait()).map(drop).map_err(|error| error.to_string())
}

/// What a command printed; what it said instead where it failed.
fn ended(child: Child, words: &[&str]) -> Result<String, String> {
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    // Of what was printed, what is broken.
    let printed = text(&output.stdout);
    let broken: Vec<_> = printed.lines().filter(|line| line.contains("broken")).collect();
    let (command, said) = (words.join(" "), text(&output.stderr));
    Err(format!("`lar {command}` ended with {}: {said}{}", output.status, broken.join("\n")))
}

/// Waits until a file appears in a directory, so long at the most.
fn appears(directory: &Path, flags: WatchFlags, most: Duration) -> Result<bool, String> {
    let failed = |error: rustix::io::Errno| format!("a directory can't be watched: {error}");
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
    inotify::add_watch(&watch, directory, flags).map_err(failed)?;
    let seconds = Timespec::try_from(most).map_err(|error| error.to_string())?;
    let mut waiting = [PollFd::new(&watch, PollFlags::IN)];
    match poll(&mut waiting, Some(&seconds)) {
        Ok(ready) => Ok(ready > 0),
        Err(error) => Err(failed(error)),
    }
}
