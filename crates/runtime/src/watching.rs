//! Passes a turn's progress on to those who watch while the model is still writing it. The check
//! that an answer holds no secret needs the whole answer, so what is shown before is redacted here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lar_core::redact::{Redactor, Stream};

use crate::event::{Event, Observer};
use crate::model::Progress;

/// One turn on its way to those who watch.
pub(crate) struct Watching<'a> {
    observer: &'a dyn Observer,
    redactor: &'a Redactor,
    text: Mutex<Text>,
}

/// The text of the turn that can't be shown yet.
struct Text {
    stream: Stream,
    /// Redacted bytes that end within a character.
    pending: Vec<u8>,
}

impl Text {
    fn new(redactor: &Redactor) -> Self {
        Self { stream: redactor.stream(), pending: Vec::new() }
    }
}

impl<'a> Watching<'a> {
    /// Watches one turn.
    pub(crate) fn new(observer: &'a dyn Observer, redactor: &'a Redactor) -> Self {
        Self { observer, redactor, text: Mutex::new(Text::new(redactor)) }
    }

    /// Shows what was held back because a secret might have begun in it.
    pub(crate) fn finish(self) {
        let Text { stream, mut pending } =
            self.text.into_inner().unwrap_or_else(PoisonError::into_inner);
        stream.finish(&mut pending);
        if !pending.is_empty() {
            self.observer.notice(Event::ModelText(&String::from_utf8_lossy(&pending)));
        }
    }
}

impl Progress for Watching<'_> {
    fn text(&self, delta: &str) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let Text { stream, pending } = &mut *text;
        stream.feed(delta.as_bytes(), pending);
        let whole = match std::str::from_utf8(pending) {
            Ok(shown) => shown.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = pending.split_off(whole);
        let shown = std::mem::replace(pending, rest);
        if !shown.is_empty() {
            self.observer.notice(Event::ModelText(&String::from_utf8_lossy(&shown)));
        }
    }

    fn retrying(&self, why: &str, wait: Duration) {
        // The turn begins anew, so what was held back is not part of the answer.
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = Text::new(self.redactor);
        self.observer.notice(Event::Retrying { why: &self.redactor.redact(why), wait });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    #[derive(Default)]
    struct Seen(Mutex<String>);

    impl Observer for Seen {
        fn notice(&self, event: Event<'_>) {
            if let Event::ModelText(text) = event {
                self.0.lock().unwrap().push_str(text);
            }
        }
    }

    #[test]
    fn a_secret_in_pieces_is_never_shown_and_all_else_is() {
        let mut builder = Redactor::builder();
        builder.add("db", &SecretString::from("s3cr3t-Välue".to_owned())).unwrap();
        let redactor = builder.build().unwrap();
        let seen = Seen::default();
        let watching = Watching::new(&seen, &redactor);
        for piece in ["It is s3c", "r3t-V", "älue, ", "voilà s3c"] {
            watching.text(piece);
        }
        watching.finish();
        let seen = seen.0.into_inner().unwrap();
        assert!(seen.starts_with("It is ") && seen.ends_with(", voilà s3c"), "{seen}");
        assert!(!seen.contains("älue"), "{seen}");
    }
}
