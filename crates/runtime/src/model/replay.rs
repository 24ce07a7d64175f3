//! A recorded session as a model, and the recorder that writes one. One JSONL line is one
//! Messages API response: `{"content":[…],"stop_reason":"…","usage":{…}}`.
//!
//! A replay reads its file line by line as turns are asked for, so its memory does not grow with
//! the length of the session. It looks at neither the conversation nor the tools.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use lar_core::display::visible;

use super::message::TurnRequest;
use super::price::Price;
use super::turn::Turn;
use super::{Model, ModelError, Progress};

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// A recorded session that answers instead of a model.
pub struct Replay {
    name: String,
    path: String,
    lines: Mutex<Lines>,
}

struct Lines {
    reader: BufReader<File>,
    number: u64,
}

impl Replay {
    /// Opens the file; its lines are read when they are needed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let shown = visible(&path.to_string_lossy(), 512);
        let file = File::open(path).map_err(|source| ModelError::Io {
            what: format!("can't open replay file `{shown}`"),
            source,
        })?;
        let file_name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self {
            name: format!("replay:{}", visible(&file_name.to_string_lossy(), 128)),
            path: shown,
            lines: Mutex::new(Lines { reader: BufReader::new(file), number: 0 }),
        })
    }

    /// Passes over turns that an earlier part of the run has already used.
    pub fn skip(&self, turns: u64) -> Result<(), ModelError> {
        for _ in 0..turns {
            self.next_line()?;
        }
        Ok(())
    }

    /// The next line that is not blank, with its number. The lock is never held across an await.
    fn next_line(&self) -> Result<(u64, String), ModelError> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut line = Vec::new();
            let mut bounded = lines.reader.by_ref().take(MAX_LINE + 1);
            let read = bounded.read_until(b'\n', &mut line).map_err(|source| ModelError::Io {
                what: format!("can't read replay file `{}`", self.path),
                source,
            })?;
            if read == 0 {
                return Err(ModelError::ReplayEnded {
                    path: self.path.clone(),
                    line: lines.number,
                });
            }
            lines.number += 1;
            let number = lines.number;
            if read as u64 > MAX_LINE {
                return Err(self.wrong(
                    number,
                    format!("the line is longer than {} MiB", MAX_LINE / 1024 / 1024),
                ));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = String::from_utf8(line)
                .map_err(|_| self.wrong(number, "the line is not UTF-8".to_owned()))?;
            return Ok((number, line));
        }
    }

    fn wrong(&self, line: u64, what: String) -> ModelError {
        ModelError::Replay { path: self.path.clone(), line, what }
    }
}

#[async_trait]
impl Model for Replay {
    fn name(&self) -> &str {
        &self.name
    }

    async fn turn(
        &self,
        _request: &TurnRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<Turn, ModelError> {
        let (number, line) = self.next_line()?;
        let turn = Turn::from_record(&line).map_err(|invalid| {
            self.wrong(
                number,
                format!(
                    "{invalid}; a line is one response, like \
                     `{{\"content\":[…],\"stop_reason\":\"end_turn\"}}`"
                ),
            )
        })?;
        let text = turn.text();
        if !text.is_empty() {
            progress.text(&text);
        }
        Ok(turn)
    }

    /// Nobody is billed for what is read from a file.
    fn price(&self) -> Option<Price> {
        Some(Price::FREE)
    }

    fn wants_history(&self) -> bool {
        false
    }

    fn pass_over(&self, turns: u64) -> Result<(), ModelError> {
        self.skip(turns)
    }
}

/// Writes a session that [`Replay`] reads.
pub struct Recorder {
    path: String,
    file: File,
}

impl Recorder {
    /// Creates the file, readable by its owner only. A file that exists is not written over.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let shown = visible(&path.to_string_lossy(), 512);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match opened {
            Ok(file) => Ok(Self { path: shown, file }),
            Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(ModelError::Config(format!(
                    "recording `{shown}` exists already; choose another name or remove it"
                )))
            }
            Err(source) => {
                Err(ModelError::Io { what: format!("can't create recording `{shown}`"), source })
            }
        }
    }

    /// Appends one turn as one line, in one write.
    pub fn append(&mut self, turn: &Turn) -> Result<(), ModelError> {
        let failed = |source| ModelError::Io {
            what: format!("can't write recording `{}`", self.path),
            source,
        };
        let line = turn.to_record().map_err(|invalid| {
            failed(std::io::Error::new(std::io::ErrorKind::InvalidData, invalid))
        })?;
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const REQUEST: TurnRequest<'_> =
        TurnRequest { system: "", tools: &[], messages: &[], max_output_tokens: 1 };

    fn replay(text: &[u8]) -> (tempfile::TempDir, Replay) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.jsonl");
        std::fs::write(&path, text).unwrap();
        let replay = Replay::open(&path).unwrap();
        (dir, replay)
    }

    #[tokio::test]
    async fn turns_come_in_order_and_the_end_names_its_line() {
        let (_dir, replay) = replay(
            b"{\"content\":[{\"type\":\"text\",\"text\":\"one\"}],\"stop_reason\":\"end_turn\"}\n\n\
              {\"content\":[{\"type\":\"text\",\"text\":\"two\"}],\"stop_reason\":\"end_turn\"}",
        );
        assert_eq!(replay.name(), "replay:session.jsonl");
        assert_eq!(replay.turn(&REQUEST, &Silent).await.unwrap().text(), "one");
        let second = replay.turn(&REQUEST, &Silent).await.unwrap();
        assert_eq!((second.text(), second.usage.total()), ("two".into(), 0));
        let error = replay.turn(&REQUEST, &Silent).await.unwrap_err().to_string();
        assert!(error.contains("ends after line 3"), "{error}");
    }

    #[tokio::test]
    async fn skipped_turns_do_not_come_again() {
        let (_dir, replay) =
            replay(b"not even json\n{\"content\":[],\"stop_reason\":\"refusal\"}\n");
        replay.skip(1).unwrap();
        replay.turn(&REQUEST, &Silent).await.unwrap();
    }

    #[tokio::test]
    async fn a_bad_line_is_named_with_what_is_wrong() {
        let mut long = b"{\"content\":\"".to_vec();
        long.resize(MAX_LINE as usize + 10, b'x');
        for (text, says) in [
            (
                b"\n{\"stop_reason\":\"end_turn\"}\n".to_vec(),
                "line 2: the response has no `content`",
            ),
            (b"{\"content\":[\xff]}\n".to_vec(), "line 1: the line is not UTF-8"),
            (b"{\"content\":[{\"type\":\"te".to_vec(), "line 1: it is not the expected JSON"),
            (long, "longer than 16 MiB"),
        ] {
            let (_dir, replay) = replay(&text);
            let error = replay.turn(&REQUEST, &Silent).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.len() < 2000);
        }
        assert!(Replay::open("/nonexistent/file").is_err());
    }

    #[tokio::test]
    async fn what_is_recorded_replays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let turn = Turn::from_record(
            r#"{"id":"m","content":[{"type":"tool_use","id":"t","name":"n","input":[1.0]},{"type":"odd","v":1.0}],"stop_reason":"tool_use","usage":{"input_tokens":5,"output_tokens":6}}"#,
        )
        .unwrap();
        let mut recorder = Recorder::create(&path).unwrap();
        recorder.append(&turn).unwrap();
        recorder.append(&turn).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let replay = Replay::open(&path).unwrap();
        for _ in 0..2 {
            let again = replay.turn(&REQUEST, &Silent).await.unwrap();
            assert_eq!(again.calls(), turn.calls());
            assert_eq!(again.calls()[0].input, "[1.0]");
            assert_eq!(again.blocks[1].get(), turn.blocks[1].get());
            assert_eq!(again.usage, turn.usage);
        }
        let error = Recorder::create(&path).err().unwrap().to_string();
        assert!(error.contains("exists already"), "{error}");
    }
}
