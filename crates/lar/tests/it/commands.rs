//! Every subcommand but `run`, with the real binary: what it prints for people and for programs, and
//! how it exits.

mod audit;
mod check;
mod erase;
mod export;
mod grants;
mod init;
mod kept;
mod tamper;
mod tamper_approvals;
mod try_call;

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Ended, LAR, Lab, drain, reap};

/// Runs `lar` in the lab's directory, with nothing of the tests' environment but `PATH`.
fn lar(lab: &Lab, args: &[&str]) -> Ended {
    lar_with(lab, args, b"")
}

/// The same with these bytes on its standard input.
fn lar_with(lab: &Lab, args: &[&str], input: &[u8]) -> Ended {
    let mut command = Command::new(LAR);
    command.args(args).current_dir(lab.dir()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", lab.dir());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (stdout, stderr) = (drain(stdout), drain(stderr));
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let code = reap(&mut child);
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code, stdout: text(stdout.join().unwrap()), stderr: text(stderr.join().unwrap()) }
}

/// No character that a terminal would obey, or that can't be seen.
#[track_caller]
fn shows_everything(text: &str) {
    let unseen = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{200b}\u{feff}".contains(c);
    assert!(!text.contains(unseen), "{text:?}");
}
