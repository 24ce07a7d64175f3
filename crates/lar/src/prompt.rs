//! The prompt at which a person plays the model.

use std::io::{BufRead, IsTerminal, Write};

use async_trait::async_trait;
use linear_agentics::model::Prompt;

/// Standard input and standard error.
#[derive(Debug, Clone, Copy)]
pub struct TerminalPrompt;

#[async_trait]
impl Prompt for TerminalPrompt {
    async fn line(&self, prompt: &str) -> std::io::Result<Option<String>> {
        let prompt = prompt.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            if std::io::stdin().is_terminal() {
                let mut out = anstream::stderr().lock();
                out.write_all(prompt.as_bytes())?;
                out.flush()?;
            }
            let mut line = String::new();
            let count = std::io::stdin().lock().read_line(&mut line)?;
            Ok((count > 0).then_some(line))
        });
        read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    async fn show(&self, text: &str) -> std::io::Result<()> {
        let mut out = anstream::stderr().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")
    }
}
