//! Takes in an output of any length: redacts it, digests all of it, keeps its beginning and its end.

use std::collections::VecDeque;

use lar_core::json::Digest;
use lar_core::redact::{Redactor, Stream};
use sha2::{Digest as _, Sha256};

use crate::kept::{Keeping, Kept};

/// How much is kept of the beginning, and as much of the end, in bytes.
const KEPT: usize = 32 << 10;

/// An output on its way in. Memory is flat whatever comes.
pub(super) struct Capture {
    stream: Stream,
    scratch: Vec<u8>,
    held: Held,
    /// The file into which all of it goes, where outputs are kept.
    keeping: Option<Keeping>,
}

/// An output that is in.
#[derive(Debug, Clone)]
pub(super) struct Captured {
    /// The beginning and the end, with a note between them when something was left out.
    pub text: String,
    /// SHA-256 of the whole redacted output.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Capture {
    pub(super) fn new(redactor: &Redactor, kept: Option<&Kept>) -> Self {
        Self {
            stream: redactor.stream(),
            scratch: Vec::new(),
            held: Held::default(),
            keeping: kept.map(Kept::begin),
        }
    }

    /// Keeps nothing from beyond the first `limit` redacted bytes. The digest covers all of them.
    pub(super) fn keeping(mut self, limit: u64) -> Self {
        self.held.limit = Some(limit);
        self
    }

    pub(super) fn feed(&mut self, chunk: &[u8]) {
        self.scratch.clear();
        self.stream.feed(chunk, &mut self.scratch);
        self.held.take_in(&self.scratch);
        if let Some(keeping) = &mut self.keeping {
            keeping.write(&self.scratch);
        }
    }

    pub(super) fn finish(self) -> Captured {
        let Self { stream, mut scratch, mut held, mut keeping } = self;
        scratch.clear();
        stream.finish(&mut scratch);
        held.take_in(&scratch);
        if let Some(keeping) = &mut keeping {
            keeping.write(&scratch);
        }
        let captured = held.finish();
        if let Some(keeping) = keeping {
            keeping.finish(&captured.digest);
        }
        captured
    }
}

/// What stays of the redacted bytes.
#[derive(Default)]
struct Held {
    hasher: Sha256,
    bytes: u64,
    /// Bytes behind this many are counted and digested, not kept.
    limit: Option<u64>,
    head: Vec<u8>,
    tail: VecDeque<u8>,
}

impl Held {
    fn take_in(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        let left = self.within().saturating_sub(self.bytes);
        self.bytes += bytes.len() as u64;
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.split_at(left).0;
        let room = KEPT.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        // Only the last KEPT bytes of a chunk can stay.
        self.tail.extend(rest.split_at(rest.len().saturating_sub(KEPT)).1);
        let over = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..over);
    }

    /// How many bytes may be kept at the most.
    fn within(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX)
    }

    fn finish(self) -> Captured {
        let within = self.bytes.min(self.within());
        let tail: Vec<u8> = self.tail.into();
        let kept = (self.head.len() + tail.len()) as u64;
        let text = if kept == within {
            String::from_utf8_lossy(&[self.head, tail].concat()).into_owned()
        } else {
            format!(
                "{}\n… {} bytes left out …\n{}",
                String::from_utf8_lossy(&self.head),
                within - kept,
                String::from_utf8_lossy(&tail)
            )
        };
        Captured {
            text,
            digest: Digest::from_bytes(self.hasher.finalize().into()),
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(chunks: &[&[u8]]) -> Captured {
        let redactor = Redactor::default();
        let mut capture = Capture::new(&redactor, None);
        for chunk in chunks {
            capture.feed(chunk);
        }
        capture.finish()
    }

    #[test]
    fn a_short_output_is_kept_whole() {
        let all = captured(&[b"one ", b"", b"two"]);
        assert_eq!(all.text, "one two");
        assert_eq!(all.digest, Digest::of(b"one two"));
        assert_eq!(all.bytes, 7);
    }

    #[test]
    fn a_long_output_keeps_both_ends_and_the_digest_of_all() {
        let mut whole = vec![b'a'; KEPT];
        whole.extend(vec![b'b'; 1000]);
        whole.extend(vec![b'c'; KEPT]);
        for size in [1, 7, 4096, whole.len()] {
            let chunks: Vec<&[u8]> = whole.chunks(size).collect();
            let all = captured(&chunks);
            assert_eq!(all.digest, Digest::of(&whole));
            assert_eq!(all.bytes, whole.len() as u64);
            assert!(all.text.starts_with("aaa") && all.text.ends_with("ccc"));
            assert!(all.text.contains("… 1000 bytes left out …"), "chunks of {size}");
            assert!(!all.text.contains('b') || all.text.matches('b').count() == 1);
        }
    }

    #[test]
    fn a_cut_leaves_no_part_of_a_secret() {
        let secret = "Qr7_Vt5.Kp3";
        let mut builder = Redactor::builder();
        builder.add("KEY", &secrecy::SecretString::from(secret)).unwrap();
        let redactor = builder.build().unwrap();
        for limit in 0..40 {
            let mut capture = Capture::new(&redactor, None).keeping(limit);
            capture.feed(b"twelve bytes");
            capture.feed(secret.as_bytes());
            let kept = capture.finish();
            assert!(!kept.text.contains("Qr7_"), "{limit}: {}", kept.text);
            assert!(kept.text.len() as u64 <= limit, "{limit}: {}", kept.text);
            assert!(kept.bytes > 12);
        }
    }
}
