//! A person at a terminal: the binary with a controlling terminal of its own, what stands on the
//! screen, and hands that type.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Ended, PATIENCE, Run, drain, reap};

/// A run at a terminal. Its standard output is a pipe, so that the result can be read apart.
pub struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    reader: JoinHandle<()>,
    /// How much of the screen has been looked at, in bytes.
    seen: usize,
}

impl Terminal {
    /// Starts a run.
    pub fn start(run: &Run) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap());
        // `setsid --ctty` makes its standard input the controlling terminal of a new session.
        let mut command = run.command(&["--ctty"]);
        command.env("TERM", "xterm").stdin(Stdio::from(slave.try_clone().unwrap()));
        command.stdout(Stdio::piped()).stderr(Stdio::from(slave));
        let mut child = command.spawn().unwrap();
        // The command holds the other end of the terminal; the last of them must go with the run.
        drop(command);
        let stdout = drain(child.stdout.take().unwrap());
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let reader = std::thread::spawn({
            let (mut from, screen) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
            move || {
                let mut pending = Vec::new();
                let mut buffer = [0u8; 4096];
                // When nobody holds the other end any more, reading fails with EIO.
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    pending.extend_from_slice(&buffer[..count]);
                    let valid = match std::str::from_utf8(&pending) {
                        Ok(text) => text.len(),
                        Err(error) => error.valid_up_to(),
                    };
                    let rest = pending.split_off(valid);
                    screen.lock().unwrap().push_str(std::str::from_utf8(&pending).unwrap());
                    pending = rest;
                }
            }
        });
        Self { keyboard, screen, child, stdout, reader, seen: 0 }
    }

    /// Waits until this stands on the part of the screen that was not looked at yet.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        if !self.sees(text, PATIENCE) {
            panic!("`{text}` never came; the screen:\n{}", self.screen());
        }
    }

    /// The same, for at most this long; says whether it came.
    pub fn sees(&mut self, text: &str, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            let screen = self.screen();
            if let Some(at) = screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a question and answers it. What is typed too early is dropped, which is a promise,
    /// so it is typed again until it is heard.
    #[track_caller]
    pub fn answer(&mut self, line: &str) {
        self.expect("Type `yes`");
        self.expect(": ");
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            self.type_in(&format!("{line}\n"));
            if self.sees("approved\r\n", Duration::from_secs(4)) {
                return;
            }
        }
        panic!("`{line}` was never heard; the screen:\n{}", self.screen());
    }

    /// Presses these keys.
    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Everything that was on the screen.
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Waits for the end. What stood on the screen comes back as `stderr`.
    pub fn wait(mut self) -> Ended {
        let code = reap(&mut self.child);
        let stdout = String::from_utf8_lossy(&self.stdout.join().unwrap()).into_owned();
        self.reader.join().unwrap();
        let stderr = self.screen.lock().unwrap().clone();
        Ended { code, stdout, stderr }
    }
}
